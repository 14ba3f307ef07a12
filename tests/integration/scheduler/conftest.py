"""A scheduler without a process: its parts, on real services, with a clock that the test turns."""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from scheduler.message_runs import MessageRuns
from scheduler.messages_to_runs import MessagesToRuns
from scheduler.metrics import SchedulerMetrics
from scheduler.ticker import Ticker
from scheduling import Add, Clock, plan_from
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_STREAM, NOTIFICATIONS_STREAM
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.universes.store import resolve
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.store import Schedule


@pytest.fixture
def clock() -> Clock:
    """Noon of a Monday in New York."""
    return Clock()


@pytest.fixture
def metrics() -> SchedulerMetrics:
    return SchedulerMetrics()


@pytest.fixture
def ticker(
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    registry: Registry,
    metrics: SchedulerMetrics,
    clock: Clock,
) -> Ticker:
    """A ticker by the test's clock."""
    return Ticker(pool, streams, registry, resolve, metrics, clock)


@pytest.fixture
def messages(settings: Settings) -> Iterator[Messages]:
    """The traffic with other programs. Its keys have no prefix of the test, so they go with it."""
    assert settings.redis_url is not None
    opened = Messages(settings.redis_url.get_secret_value(), settings.key_prefix)
    yield opened
    opened._client.delete(DATA_LOAD_STREAM, NOTIFICATIONS_STREAM)
    opened.close()


@pytest.fixture
def messages_to_runs(
    pool: "ConnectionPool[Connection]",
    streams: Streams,
    messages: Messages,
    registry: Registry,
    metrics: SchedulerMetrics,
) -> MessagesToRuns:
    runs = MessageRuns(registry, resolve, frozenset({"massive"}))
    return MessagesToRuns(pool, streams, messages, runs, metrics, status_ttl_seconds=600)


@pytest.fixture
def add(connection: Connection, clock: Clock) -> Add:
    """Add a schedule of the job `noop` over A and B at noon of the test's clock, with any other field."""

    def save(name: str = "job", **fields: Any) -> Schedule:
        given = {"name": name, "job": "noop", "target": {"symbols": ["A", "B"]}, "cron": "0 * * * *"} | fields
        store.save_schedule(connection, ScheduleDefinition.parse(given))
        plan_from(connection, clock.now, name)
        return store.require_schedule(connection, name)

    return save
