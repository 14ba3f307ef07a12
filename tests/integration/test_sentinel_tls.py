"""TLS to sentinels, and to the Redis that they name: whom we trust, whom they trust, and what is said if it fails."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from patience import paced
from streamworkers.engine.redis.client import open_client, translate_errors
from streamworkers.errors import ServiceUnreachableError, UsageError
from streamworkers_fakes.serving import Certificate
from tls_servers import Certificates, TlsRedis, running_tls_redis, running_tls_sentinel

_SETTING = "STREAMWORKERS_REDIS_URL"
_SENTINEL = "rejected: no TLS connection to a sentinel"  # nobody heals it by waiting
_PRIMARY = "rejected: no TLS connection to the Redis that the sentinels name"
_AUTHORITY = "the server's certificate is not signed by an authority that is trusted here"
_HOST = "the server's certificate is not for the host '127.0.0.1'"
_EXPIRED = "the server's certificate has expired: renew it on the server"
_WANTED = "the server wants a client certificate"
_NOT_ACCEPTED = "the server does not accept our client certificate"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of all tests here."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def primary(certificates: Certificates) -> Iterator[TlsRedis]:
    """The Redis that all sentinels here name."""
    try:
        with running_tls_redis(certificates) as server:
            yield server
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sentinel(certificates: Certificates, primary: TlsRedis) -> Iterator[int]:
    """The port of a sentinel with the right certificate."""
    with running_tls_sentinel(certificates, certificates.right, primary.port) as port:
        yield port


def _answer(*options: str, ports: tuple[int, ...], scheme: str = "rediss", seconds: float = 10.0) -> str:
    """What a ping comes to: `ok`, or why it fails, with the kind of the fault before it."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    client = open_client(f"{scheme}+sentinel://{hosts}/pool/0?{'&'.join(options)}", seconds)
    try:
        with translate_errors():
            client.ping()
    except ServiceUnreachableError as error:
        return f"{error.kind}: {error}"
    finally:
        client.close()
    return "ok"


def test_the_redis_that_sentinels_name_is_trusted_by_its_authority_its_host_and_its_date(
    primary: TlsRedis, sentinel: int, certificates: Certificates
) -> None:
    own = f"ssl_ca_certs={certificates.authority.file}"
    primary.show(certificates.right)
    assert _answer(own, ports=(sentinel,)) == "ok"
    primary.show(certificates.of_another_host)
    assert _answer(own, ports=(sentinel,)) == (
        f"{_PRIMARY}: {_HOST}: let the sentinels announce a name or an address that the certificate has"
    )
    assert _answer(own, "ssl_check_hostname=false", ports=(sentinel,)) == "ok"
    primary.show(certificates.expired)
    assert _answer(own, ports=(sentinel,)) == f"{_PRIMARY}: {_EXPIRED}"
    assert _answer("ssl_cert_reqs=none", "ssl_check_hostname=false", ports=(sentinel,)) == "ok"
    primary.show(certificates.other.issue("127.0.0.1"))
    assert _answer(own, ports=(sentinel,)) == (
        f"{_PRIMARY}: {_AUTHORITY}: name the file of its authority as ssl_ca_certs in {_SETTING}"
    )


def test_sentinels_are_trusted_by_their_authority_their_host_and_their_date(
    primary: TlsRedis, sentinel: int, certificates: Certificates
) -> None:
    own, other = (f"ssl_ca_certs={each.file}" for each in (certificates.authority, certificates.other))
    primary.show(certificates.right)
    for trusted in (other, "ssl_check_hostname=true"):
        assert _answer(trusted, ports=(sentinel,)) == (
            f"{_SENTINEL}: {_AUTHORITY}: name the file of its authority as ssl_ca_certs in {_SETTING}"
        )
    with ExitStack() as stack:

        def port_of(shown: Certificate) -> int:
            return stack.enter_context(running_tls_sentinel(certificates, shown, primary.port))

        of_another_host, expired = port_of(certificates.of_another_host), port_of(certificates.expired)
        said = f"{_SENTINEL}: {_HOST}: use a name that the certificate has in {_SETTING}"
        assert _answer(own, ports=(of_another_host,)) == said
        assert _answer(own, "ssl_check_hostname=false", ports=(of_another_host,)) == "ok"
        assert _answer(own, ports=(expired,)) == f"{_SENTINEL}: {_EXPIRED}"
        assert _answer(own, ports=(expired, sentinel)) == "ok", "one that can be asked is enough"
        assert _answer(own, ports=(expired, 1)).startswith("away: "), "one that is away counts before a wrong one"


def test_sentinels_and_their_redis_want_a_client_certificate_of_their_authority(
    primary: TlsRedis, certificates: Certificates
) -> None:
    own = f"ssl_ca_certs={certificates.authority.file}"
    ours, others = (
        (f"ssl_certfile={each.chain}", f"ssl_keyfile={each.key}")
        for each in (certificates.client, certificates.other_client)
    )
    ending = f"ssl_certfile and ssl_keyfile in {_SETTING}"
    primary.show(certificates.right, clients="yes")
    with running_tls_sentinel(certificates, certificates.right, primary.port, clients="yes") as port:
        assert _answer(own, *ours, ports=(port,)) == "ok"
        assert _answer(own, ports=(port,)) == f"{_SENTINEL}: {_WANTED}: name its files as {ending}"
        answer = _answer(own, *others, ports=(port,))
        assert answer == f"{_SENTINEL}: {_NOT_ACCEPTED}: it has expired, or is of another authority: correct {ending}"
    with running_tls_sentinel(certificates, certificates.right, primary.port) as port:
        assert _answer(own, ports=(port,)) == f"{_PRIMARY}: {_WANTED}: name its files as {ending}"


def test_sentinels_with_tls_and_those_without_are_told_apart(
    primary: TlsRedis, sentinel: int, certificates: Certificates
) -> None:
    own = f"ssl_ca_certs={certificates.authority.file}"
    primary.show(certificates.right)
    begin = f"begin {_SETTING} with rediss+sentinel://"
    said = f"{_SENTINEL}: the server uses TLS at port {sentinel}: {begin}"
    assert _answer(ports=(sentinel,), scheme="redis") == said
    with running_tls_sentinel(certificates, None, primary.port) as plain:
        said = f"{_SENTINEL}: the server does not use TLS at port {plain}: correct the port or the scheme in {_SETTING}"
        assert _answer(own, ports=(plain,), seconds=paced(1)) == said
        said = f"{_PRIMARY}: the server uses TLS at port {primary.port}: {begin}"
        assert _answer(ports=(plain,), scheme="redis") == said
    with running_tls_sentinel(certificates, certificates.right, primary.plain_port) as port:
        said = f"{_PRIMARY}: the server does not use TLS at port {primary.plain_port}: let `sentinel monitor` name"
        assert _answer(own, ports=(port,), seconds=paced(1)) == f"{said} a port with TLS"
