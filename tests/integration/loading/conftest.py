"""A loader on the test's services."""

from collections.abc import Iterator
from typing import Any

import pytest

from consumer import Consumer
from loading import Loader
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


@pytest.fixture
def loader(consumer: Consumer, connection: Connection, streams: Streams, registry: Registry) -> Iterator[Loader]:
    """A loader on the test's services."""
    yield Loader(consumer, connection, streams, registry)
    job: Any = registry["load_ohlcv"]
    job.close()
