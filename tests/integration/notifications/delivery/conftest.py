"""The stage of deliveries."""

import pytest
from psycopg_pool import ConnectionPool

from delivery_stage import DeliveryStage, Plain, build_stage
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams


@pytest.fixture
def stage(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, settings: Settings
) -> DeliveryStage:
    """A stage with the channel `plain`."""
    return build_stage(connection, pool, streams, settings, Plain(settings))
