"""The connections of a client of Redis: which options its URL may have, and why TLS cannot be used, in words."""

from collections.abc import Mapping
from typing import Any, ClassVar

import streamworkers.engine.redis.lean_import  # noqa: F401  # isort: skip  # before redis
import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url, to_bool
from redis.retry import Retry

from streamworkers.engine.redis.replies import BoundedParser
from streamworkers.errors import BadInputError
from streamworkers.tls import TlsNames, TlsTarget, find_tls_server, find_tls_trouble

MOST_CONNECTIONS = 32
SOCKET_SECONDS = 10.0
_PROBE_SECONDS = 5.0
REDIS_NAMES = TlsNames("Redis", "STREAMWORKERS_REDIS_URL", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_OPTIONS: dict[str, Any] = {
    "protocol": 2,
    "parser_class": BoundedParser,
    # No silent retries: a repeated XREADGROUP would lose the first one's entries from sight.
    "retry": Retry(NoBackoff(), 0),
    "health_check_interval": 0,
}
# What a URL may say after its `?`. The client would take any other word, and fail at the first call.
_URL_OPTIONS = frozenset(
    ("db", "username", "password", "client_name", "socket_timeout", "socket_connect_timeout", "socket_keepalive")
)
_TLS_OPTIONS = frozenset(
    ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname")
)
_VERIFY = ("required", "none")


class TlsError(redis.ConnectionError):
    """No TLS connection can be made until somebody corrects a setting or a certificate; the message says which."""


class PlainConnection(redis.Connection):
    """A connection without TLS, which says so where the server wants TLS."""

    names: ClassVar[TlsNames] = REDIS_NAMES

    def connect_check_health(self, *words: Any, **named: Any) -> None:
        try:
            super().connect_check_health(*words, **named)
        except redis.ConnectionError as error:
            if type(error) is redis.ConnectionError:
                _raise_if(find_tls_server(TlsTarget(self.names, str(self.host), int(self.port)), _bound(self)))
            raise


class TlsConnection(redis.SSLConnection):
    """A connection with TLS, which says why there is none."""

    names: ClassVar[TlsNames] = REDIS_NAMES

    def connect_check_health(self, *words: Any, **named: Any) -> None:
        try:
            super().connect_check_health(*words, **named)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            if type(error) in (redis.ConnectionError, redis.TimeoutError):
                _raise_if(find_tls_trouble(self._target(), _bound(self)))
            raise

    def _target(self) -> TlsTarget:
        return TlsTarget(
            self.names,
            str(self.host),
            int(self.port),
            ca_file=self.ca_certs,
            certificate_file=self.certfile,
            key_file=self.keyfile,
            password=self.certificate_password or "",
            verifies=bool(self.cert_reqs),
            checks_host=bool(self.check_hostname),
            greeting=b"PING\r\n",
        )


def _bound(connection: redis.Connection) -> float:
    """How long the search for a reason may take, in seconds."""
    return min(_PROBE_SECONDS, float(connection.socket_timeout or _PROBE_SECONDS))


def _raise_if(trouble: str | None) -> None:
    if trouble is not None:
        raise TlsError(trouble) from None


def bounded_options(seconds: float) -> dict[str, Any]:
    """The options of every connection; a call takes so many seconds at most."""
    return {**_OPTIONS, "socket_timeout": seconds, "socket_connect_timeout": min(5.0, seconds)}


def make_pool(url: str, seconds: float) -> redis.ConnectionPool:
    """A pool of connections, which it opens when they are needed; a call takes so many seconds at most.

    Raises BadInputError for an option that a URL cannot have, and ValueError for what is no URL of Redis.
    """
    options = parse_url(url)  # type: ignore[no-untyped-call]
    kind = options.pop("connection_class", redis.Connection)
    options = _checked(options, has_tls=kind is redis.SSLConnection)
    if kind is redis.SSLConnection:
        kind = TlsConnection
    elif kind is redis.Connection:
        kind = PlainConnection
    return redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
        # An idle connection is kept, so that without a bound their number would be the most that were ever needed.
        max_connections=MOST_CONNECTIONS,
        timeout=seconds,
        connection_class=kind,
        **{**bounded_options(seconds), **options},
    )


def parse_options(given: Mapping[str, str], *, has_tls: bool) -> dict[str, Any]:
    """The options of a URL by way of sentinels. Raises BadInputError for one that it cannot have."""
    options: dict[str, Any] = dict(given)
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = to_bool(options["ssl_check_hostname"])  # type: ignore[no-untyped-call]
    return _checked(options, has_tls=has_tls)


def _checked(options: dict[str, Any], *, has_tls: bool) -> dict[str, Any]:
    own = {"host", "port", "path"}
    for name in sorted(options.keys() - own - _URL_OPTIONS):
        if name not in _TLS_OPTIONS:
            known = ", ".join(sorted(_URL_OPTIONS | _TLS_OPTIONS))
            raise BadInputError(f"STREAMWORKERS_REDIS_URL has the option {name!r}; a URL can have {known}")
        if not has_tls:
            raise BadInputError(
                f"STREAMWORKERS_REDIS_URL has {name}, which needs TLS: begin it with rediss:// or rediss+sentinel://"
            )
    if options.get("ssl_cert_reqs", "required") not in _VERIFY:
        raise BadInputError("ssl_cert_reqs in STREAMWORKERS_REDIS_URL is neither required nor none")
    if ("ssl_certfile" in options) != ("ssl_keyfile" in options):
        raise BadInputError(
            "STREAMWORKERS_REDIS_URL has one of ssl_certfile and ssl_keyfile: a client has both or none"
        )
    # Without a password, OpenSSL would ask for one at the terminal.
    return {"ssl_password": "", **options} if has_tls else options
