"""The connections of a client by way of sentinels: to these, and to the primary that they name."""

from typing import Any

import streamworkers.engine.redis.lean_import  # noqa: F401  # isort: skip  # before redis
import redis
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool, SentinelManagedConnection

from streamworkers.engine.redis.connections import (
    MOST_CONNECTIONS,
    REDIS_NAMES,
    PlainConnection,
    TlsConnection,
    TlsError,
    bounded_options,
    parse_options,
)
from streamworkers.engine.redis.sentinel_url import SECURE_SENTINEL_SCHEME, parse_sentinel_url

_SENTINEL_NAMES = REDIS_NAMES._replace(store="a sentinel", scheme=SECURE_SENTINEL_SCHEME)
_PRIMARY_NAMES = REDIS_NAMES._replace(
    store="the Redis that the sentinels name",
    scheme=SECURE_SENTINEL_SCHEME,
    right_host="let the sentinels announce a name or an address that the certificate has",
    right_port="let `sentinel monitor` name a port with TLS",
)


class _PlainToSentinel(PlainConnection):
    names = _SENTINEL_NAMES


class _TlsToSentinel(TlsConnection):
    names = _SENTINEL_NAMES


class _PlainToPrimary(SentinelManagedConnection, PlainConnection):
    names = _PRIMARY_NAMES


class _TlsToPrimary(SentinelManagedConnection, TlsConnection):
    names = _PRIMARY_NAMES


class _SentinelClient(redis.Redis):
    """A client of one sentinel, which remembers why TLS could not be used with it."""

    trouble: TlsError | None = None

    def __repr__(self) -> str:
        """Where it is: errors show it, and its options have passwords."""
        options = self.connection_pool.connection_kwargs
        return f"{options['host']}:{options['port']}"

    def sentinel_masters(self) -> Any:
        """Ask for the services that it watches."""
        self.trouble = None
        try:
            return super().sentinel_masters()
        except TlsError as error:
            self.trouble = error
            raise


class _Sentinels(Sentinel):
    """Sentinels which say why TLS cannot be used, if it cannot with any of them: else there is one to wait for."""

    def discover_master(self, service_name: str) -> Any:
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError:
            troubles = [getattr(sentinel, "trouble", None) for sentinel in self.sentinels]
            if troubles and all(troubles) and (first := troubles[0]) is not None:
                raise first from None
            raise


def make_sentinel_pool(url: str, seconds: float) -> redis.ConnectionPool:
    """A pool of connections to the primary, each of which asks the sentinels where it is.

    A call takes so many seconds at most. Raises BadInputError for a malformed URL, and for options that it cannot have.
    """
    service = parse_sentinel_url(url)
    has_tls = url.startswith(SECURE_SENTINEL_SCHEME)
    options = {**bounded_options(seconds), **parse_options(service.options, has_tls=has_tls)}
    sentinels: Any = _Sentinels([])  # type: ignore[no-untyped-call]
    sentinels.sentinels = [
        _SentinelClient.from_pool(
            redis.ConnectionPool(
                connection_class=_TlsToSentinel if has_tls else _PlainToSentinel,
                host=host,
                port=port,
                **options,
                **service.sentinel_login,
            )
        )
        for host, port in service.sentinels
    ]
    return SentinelConnectionPool(  # type: ignore[no-untyped-call]
        service.name,
        sentinels,
        connection_class=_TlsToPrimary if has_tls else _PlainToPrimary,
        max_connections=MOST_CONNECTIONS,
        **options,
        **service.login,
    )
