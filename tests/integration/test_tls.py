"""TLS to Redis and PostgreSQL: whom we trust, whom they trust, and what a command and a process say if it fails."""

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from command_line import Answer
from harness import SAMPLE_JOBS, running_supervisor
from patience import patient
from streamworkers import database
from streamworkers.cli.main import main
from streamworkers.client.own_connections import AsyncOwnConnections, OwnConnections
from streamworkers.client.steps import Query
from streamworkers.database import connect, open_pool
from streamworkers.engine.redis.streams import open_streams
from streamworkers.errors import BadInputError, FaultKind, ServiceUnreachableError, Store, UsageError
from streamworkers.faults import StoreFaultError
from streamworkers_fakes.serving import Certificate
from tls_servers import (
    CERTIFIED,
    Certificates,
    TlsPostgres,
    TlsRedis,
    running_tls_postgres,
    running_tls_redis,
    running_tls_sentinel,
)

_REDIS = "rejected: no TLS connection to Redis"  # nobody heals it by waiting
_POSTGRES = "rejected: no TLS connection to PostgreSQL"
_FULL = "sslmode=verify-full"
_UNKNOWN_AUTHORITY = "is not signed by an authority that is trusted here: name the file of its authority as"
_OTHER_HOST = "is not for the host '127.0.0.1': use a name that the certificate has in"
_EXPIRED = "the server's certificate has expired: renew it on the server"
_NOT_ACCEPTED = "the server does not accept our client certificate: it has expired, or is of another authority: correct"
_WANTED = "the server wants a client certificate: name its files as"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Those of all tests here."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_redis(certificates: Certificates) -> Iterator[TlsRedis]:
    """The Redis of all tests here."""
    try:
        with running_tls_redis(certificates) as server:
            yield server
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tls_postgres(certificates: Certificates) -> Iterator[TlsPostgres]:
    """The PostgreSQL of all tests here."""
    try:
        with running_tls_postgres(certificates) as server:
            yield server
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Answer]]:
    """Run a command in this process, with an environment."""

    def command(environment: dict[str, str], *words: str) -> Answer:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        captured = capsys.readouterr()
        return Answer(int(ended.value.code or 0), captured.out, captured.err)

    yield command
    structlog.reset_defaults()


def _redis_answer(url: str) -> str:
    """What a ping of Redis comes to: `ok`, or why it fails, with the kind of the fault before it."""
    streams = open_streams(url, "tls")
    try:
        streams.inspector.ping()
    except ServiceUnreachableError as error:
        return f"{error.kind}: {error}"
    finally:
        streams.close()
    return "ok"


def _postgres_answer(url: str) -> str:
    """The same for a connection to PostgreSQL."""
    try:
        connect(url).close()
    except ServiceUnreachableError as error:
        return f"{error.kind}: {error}"
    return "ok"


def _files(names: str, certificate: Certificate) -> tuple[str, str]:
    """The two options of a client certificate: `ssl_certfile ssl_keyfile`, `sslcert sslkey`."""
    one, other = names.split()
    return f"{one}={certificate.chain}", f"{other}={certificate.key}"


def test_redis_is_trusted_by_its_authority_its_name_and_its_date(
    tls_redis: TlsRedis, certificates: Certificates, tmp_path: Path
) -> None:
    own, other = (f"ssl_ca_certs={each.file}" for each in (certificates.authority, certificates.other))
    none = tmp_path / "none.pem"
    none.touch()
    setting = "STREAMWORKERS_REDIS_URL"
    tls_redis.show(certificates.right)
    assert _redis_answer(tls_redis.url(own)) == "ok"
    for trusted in (other, "ssl_check_hostname=true"):
        answer = _redis_answer(tls_redis.url(trusted))
        assert answer == f"{_REDIS}: the server's certificate {_UNKNOWN_AUTHORITY} ssl_ca_certs in {setting}"
    for file, reason in (
        (tmp_path / "gone", "cannot be read (No such file or directory)"),
        (none, "holds no certificate"),
    ):
        answer = _redis_answer(tls_redis.url(f"ssl_ca_certs={file}"))
        assert answer == f"{_REDIS}: ssl_ca_certs={str(file)!r} {reason}: correct {setting}"
    tls_redis.show(certificates.of_another_host)
    assert _redis_answer(tls_redis.url(own)) == f"{_REDIS}: the server's certificate {_OTHER_HOST} {setting}"
    assert _redis_answer(tls_redis.url(own, "ssl_check_hostname=false")) == "ok"
    tls_redis.show(certificates.expired)
    assert _redis_answer(tls_redis.url(own)) == f"{_REDIS}: {_EXPIRED}"
    assert _redis_answer(tls_redis.url("ssl_cert_reqs=none", "ssl_check_hostname=false")) == "ok"


def test_redis_wants_a_client_certificate_of_its_authority(tls_redis: TlsRedis, certificates: Certificates) -> None:
    own, names = f"ssl_ca_certs={certificates.authority.file}", "ssl_certfile ssl_keyfile"
    tls_redis.show(certificates.right, clients="yes")
    assert _redis_answer(tls_redis.url(own, *_files(names, certificates.client))) == "ok"
    ending = "ssl_certfile and ssl_keyfile in STREAMWORKERS_REDIS_URL"
    assert _redis_answer(tls_redis.url(own)) == f"{_REDIS}: {_WANTED} {ending}"
    answer = _redis_answer(tls_redis.url(own, *_files(names, certificates.other_client)))
    assert answer == f"{_REDIS}: {_NOT_ACCEPTED} {ending}"
    mixed = Certificate(certificates.client.chain, certificates.other_client.key)
    assert "or the key of ssl_keyfile is not its key or has another" in _redis_answer(
        tls_redis.url(own, *_files(names, mixed))
    )


def test_a_port_of_redis_with_tls_and_one_without_are_told_apart(tls_redis: TlsRedis) -> None:
    setting = "STREAMWORKERS_REDIS_URL"
    plain = _redis_answer(f"redis://127.0.0.1:{tls_redis.port}/0")
    assert plain == f"{_REDIS}: the server uses TLS at port {tls_redis.port}: begin {setting} with rediss://"
    with_tls = _redis_answer(f"rediss://127.0.0.1:{tls_redis.plain_port}/0?socket_timeout=1")
    assert with_tls == (
        f"{_REDIS}: the server does not use TLS at port {tls_redis.plain_port}:"
        f" correct the port or the scheme in {setting}"
    )
    assert _redis_answer(f"redis://127.0.0.1:{tls_redis.plain_port}/0") == "ok"


def test_postgresql_is_trusted_by_its_authority_its_name_and_its_date(
    tls_postgres: TlsPostgres, certificates: Certificates, tmp_path: Path
) -> None:
    own, other = (f"sslrootcert={each.file}" for each in (certificates.authority, certificates.other))
    setting = "STREAMWORKERS_DATABASE_URL"
    tls_postgres.show(certificates.right)
    assert _postgres_answer(tls_postgres.url(_FULL, own)) == "ok"
    for trusted in (other, "sslrootcert=system"):
        answer = _postgres_answer(tls_postgres.url(_FULL, trusted))
        assert answer == f"{_POSTGRES}: the server's certificate {_UNKNOWN_AUTHORITY} sslrootcert in {setting}"
    gone = tmp_path / "gone"
    answer = _postgres_answer(tls_postgres.url(_FULL, f"sslrootcert={gone}"))
    assert answer == (
        f"{_POSTGRES}: sslrootcert={str(gone)!r} cannot be read (No such file or directory): correct {setting}"
    )
    assert "root.crt" in _postgres_answer(tls_postgres.url(_FULL)), "libpq's own default"
    answer = _postgres_answer(tls_postgres.url("sslmode=disable"))
    assert answer.endswith(
        f"no encryption: set sslmode=verify-full and sslrootcert in {setting}, or correct pg_hba.conf"
    )
    tls_postgres.show(certificates.of_another_host)
    assert (
        _postgres_answer(tls_postgres.url(_FULL, own))
        == f"{_POSTGRES}: the server's certificate {_OTHER_HOST} {setting}"
    )
    assert _postgres_answer(tls_postgres.url("sslmode=verify-ca", own)) == "ok"
    tls_postgres.show(certificates.expired)
    assert _postgres_answer(tls_postgres.url(_FULL, own)) == f"{_POSTGRES}: {_EXPIRED}"
    tls_postgres.show(None)
    answer = _postgres_answer(tls_postgres.url(_FULL, own))
    assert answer == (
        f"{_POSTGRES}: the server does not use TLS at port {tls_postgres.port}: correct the port or"
        f" the scheme in {setting}"
    )


def test_postgresql_wants_a_client_certificate_of_its_authority(
    tls_postgres: TlsPostgres, certificates: Certificates
) -> None:
    own, names = f"sslrootcert={certificates.authority.file}", "sslcert sslkey"
    ending = "sslcert and sslkey in STREAMWORKERS_DATABASE_URL"
    tls_postgres.show(certificates.right)
    assert _postgres_answer(tls_postgres.url(_FULL, own, *_files(names, certificates.client), user=CERTIFIED)) == "ok"
    answer = _postgres_answer(tls_postgres.url(_FULL, own, user=CERTIFIED))
    assert answer == f"{_POSTGRES}: {_WANTED} {ending}"
    answer = _postgres_answer(tls_postgres.url(_FULL, own, *_files(names, certificates.other_client), user=CERTIFIED))
    assert answer == f"{_POSTGRES}: {_NOT_ACCEPTED} {ending}"
    gone = certificates.client._replace(chain=Path("/gone.pem"))
    answer = _postgres_answer(tls_postgres.url(_FULL, own, *_files(names, gone), user=CERTIFIED))
    assert "sslcert='/gone.pem' cannot be read (No such file or directory)" in answer, "libpq would go on without one"


def test_a_host_that_is_away_counts_before_one_whose_certificate_is_wrong(
    tls_postgres: TlsPostgres, certificates: Certificates
) -> None:
    tls_postgres.show(certificates.expired)
    url = tls_postgres.url(_FULL, f"sslrootcert={certificates.authority.file}")
    with pytest.raises(ServiceUnreachableError) as raised:
        connect(url.replace("@", "@127.0.0.1:1,"))
    assert raised.value.kind is FaultKind.AWAY


def test_pools_and_clients_say_the_same(
    tls_postgres: TlsPostgres, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "CONNECT_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(database, "_PROBE_SECONDS", patient(5))
    monkeypatch.setattr(database, "_ASK_AGAIN_SECONDS", patient(5))
    tls_postgres.show(certificates.expired)
    url = tls_postgres.url(_FULL, f"sslrootcert={certificates.authority.file}")
    said = f"no TLS connection to PostgreSQL: {_EXPIRED}"
    with open_pool(url, application="tls", max_size=1) as pool, pytest.raises(StoreFaultError) as of_pool:
        pool.getconn()
    assert of_pool.value.fault == (Store.POSTGRESQL, FaultKind.REJECTED, said)
    client = OwnConnections(url, 0.5)
    with pytest.raises(ServiceUnreachableError, match=re.escape(said)):
        client.run(Query("SELECT 1"))
    client.close()

    async def ask() -> None:
        waiting = AsyncOwnConnections(url, 0.5)
        try:
            await waiting.run(Query("SELECT 1"))
        finally:
            await waiting.close()

    with pytest.raises(ServiceUnreachableError, match=re.escape(said)):
        asyncio.run(ask())


_RULE = "STREAMWORKERS_REDIS_URL has"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rediss://localhost/0?ssl_ca_cert=a", f"{_RULE} the option 'ssl_ca_cert'; a URL can have client_name, db,"),
        ("redis://localhost/0?ssl_ca_certs=a", f"{_RULE} ssl_ca_certs, which needs TLS: begin it with rediss://"),
        ("rediss://localhost/0?ssl_certfile=a", f"{_RULE} one of ssl_certfile and ssl_keyfile: a client has both or"),
        ("rediss://localhost/0?ssl_cert_reqs=maybe", "ssl_cert_reqs in STREAMWORKERS_REDIS_URL is neither required"),
    ],
)
def test_a_url_of_redis_has_only_options_that_it_can_have(url: str, reason: str) -> None:
    with pytest.raises(BadInputError, match=re.escape(reason)):
        open_streams(url, "tls")


def _environment(redis_url: str, database_url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")}
    return {
        **inherited,
        "PYTHONPATH": str(SAMPLE_JOBS),
        "PYTHONWARNINGS": "error",
        "STREAMWORKERS_REDIS_URL": redis_url,
        "STREAMWORKERS_DATABASE_URL": database_url,
        "STREAMWORKERS_LOG_FORMAT": "json",
        "STREAMWORKERS_START_WAIT_SECONDS": "600",
    }


def test_a_command_and_a_process_say_in_one_line_what_is_wrong_and_do_not_wait(
    tls_redis: TlsRedis,
    tls_postgres: TlsPostgres,
    certificates: Certificates,
    run: Callable[..., Answer],
    tmp_path: Path,
) -> None:
    """Though a store that is away would be waited for."""
    tls_redis.show(certificates.expired)
    tls_postgres.show(certificates.expired)
    redis_url = tls_redis.url(f"ssl_ca_certs={certificates.authority.file}")
    environment = _environment(redis_url, tls_postgres.url(_FULL, f"sslrootcert={certificates.authority.file}"))
    line = f"Error: no TLS connection to PostgreSQL: {_EXPIRED}\n"
    for words in (["migrate"], ["runs", "list"], ["doctor"]):
        answer = run(environment, *words)
        assert (answer.code, answer.err) == (3, line), words
    with running_supervisor(environment, tmp_path, "--processes", "1") as supervisor:
        assert supervisor.process.wait(patient(60)) == 3
    assert line in supervisor.log.read_text(encoding="utf-8")
    assert "Traceback" not in supervisor.log.read_text(encoding="utf-8")


def _by_sentinel(environment: dict[str, str], port: int) -> dict[str, str]:
    """The environment of a process that asks a sentinel where Redis is."""
    options = environment["STREAMWORKERS_REDIS_URL"].partition("?")[2]
    return {**environment, "STREAMWORKERS_REDIS_URL": f"rediss+sentinel://127.0.0.1:{port}/pool/0?{options}"}


def test_a_run_is_executed_with_certificates_on_all_sides(
    tls_redis: TlsRedis,
    tls_postgres: TlsPostgres,
    certificates: Certificates,
    run: Callable[..., Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls_redis.show(certificates.right, clients="yes")
    tls_postgres.show(certificates.right)
    with tls_postgres.admin() as admin:
        admin.execute("CREATE DATABASE certified OWNER certified")
    own = _files("ssl_certfile ssl_keyfile", certificates.client)
    redis_url = tls_redis.url(f"ssl_ca_certs={certificates.authority.file}", *own)
    own = _files("sslcert sslkey", certificates.client)
    words = (_FULL, f"sslrootcert={certificates.authority.file}", *own)
    environment = _environment(redis_url, tls_postgres.url(*words, user=CERTIFIED, database="certified"))
    monkeypatch.syspath_prepend(str(SAMPLE_JOBS))
    assert run(environment, "migrate").code == 0
    with (
        tls_postgres.admin("certified") as admin,
        running_tls_sentinel(certificates, certificates.right, tls_redis.port, "yes") as port,
        running_supervisor(_by_sentinel(environment, port), tmp_path, "--processes", "1") as pool,
    ):
        enqueued = run(environment, "enqueue", "noop", "--symbols", "A,B", "--wait", "--timeout", f"{patient(60):g}")
        assert enqueued.code == 0
        sessions = admin.execute(
            "SELECT application_name, ssl, client_dn FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)"
            " WHERE usename = 'certified'"
        ).fetchall()
        assert {(encrypted, name) for _, encrypted, name in sessions} == {(True, sessions[0][2])}
        assert sessions[0][2], "the server has seen a certificate"
        assert len({application for application, _, _ in sessions}) >= 2, "the supervisor and its worker"
        assert pool.stop() == 0
