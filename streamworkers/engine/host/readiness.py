"""What keeps a store from being used now; readiness probes and the checks of `doctor` and `status` share it."""

import psycopg

from streamworkers.database import connect, find_write_trouble
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import FaultKind, RedisUnavailableError, ServiceUnreachableError, Store
from streamworkers.faults import Fault, describe, find_fault, word_fault
from streamworkers.pooler import find_pooler_trouble


def find_redis_trouble(streams: Streams) -> Fault | None:
    """Return why Redis does not answer or takes no writes, or None."""
    try:
        streams.probe_write()
    except RedisUnavailableError as error:
        return find_fault(error)
    return None


def find_postgres_trouble(url: str, application: str) -> Fault | None:
    """Return why PostgreSQL does not answer or takes no writes, or None."""
    try:
        with connect(url, application=application, writable=True) as connection:
            if trouble := find_write_trouble(connection):
                return Fault(Store.POSTGRESQL, FaultKind.AWAY, trouble)
            trouble = find_pooler_trouble(connection, url)
    except (ServiceUnreachableError, psycopg.Error) as error:
        return find_fault(error) or word_fault(Store.POSTGRESQL, FaultKind.REJECTED, describe(error))
    return None if trouble is None else Fault(Store.POSTGRESQL, FaultKind.REJECTED, trouble)
