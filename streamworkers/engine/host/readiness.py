"""What keeps a service from being used now; readiness probes and the checks of `doctor` and `status` share it."""

import psycopg

from streamworkers.database import connect, find_write_trouble
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import RedisUnavailableError, ServiceUnreachableError
from streamworkers.pooler import find_pooler_trouble


def find_redis_trouble(streams: Streams) -> str | None:
    """Return why Redis does not answer or takes no writes, or None."""
    try:
        streams.probe_write()
    except RedisUnavailableError as error:
        return str(error)
    return None


def find_postgres_trouble(url: str, application: str) -> str | None:
    """Return why PostgreSQL does not answer or takes no writes, or None."""
    try:
        with connect(url, application=application, writable=True) as connection:
            return find_write_trouble(connection) or find_pooler_trouble(connection, url)
    except ServiceUnreachableError as error:
        return str(error)
    except psycopg.Error as error:
        return f"PostgreSQL does not answer: {' '.join(str(error).split())}"
