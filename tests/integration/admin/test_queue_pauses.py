"""Pausing and resuming a queue: the ledger, the audit log, the flag in Redis, and what they say to people."""

import pytest
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import start_run
from losses import step_until_idle
from streamworkers.actor import Actor
from streamworkers.admin import queues
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger.pauses import read_pauses
from streamworkers.engine.redis.lanes import PRIORITIES, lanes_of, list_lanes
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.engine.worker.pause_watch import PauseWatch
from streamworkers.errors import BadInputError, UnknownNameError

LANES = lanes_of("tests")
BOTH = list_lanes(["tests", "bench"])


@pytest.fixture(autouse=True)
def groups(streams: Streams) -> None:
    """The streams, as workers make them."""
    streams.queues.ensure_groups(BOTH)


def test_a_paused_queue_is_passed_over_in_all_its_lanes_and_no_other_is(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    for priority in PRIORITIES:
        start_run(connection, streams, registry, "ledger_entry", "A", priority=priority)
    pause, executing = queues.pause_queue(connection, streams, "tests", "the disk is full", Actor("ann"))
    assert (pause.queue, pause.paused_by, pause.reason, executing) == ("tests", "ann", "the disk is full", 0)
    assert read_pauses(connection) == {"tests": pause}
    assert streams.queues.read(BOTH, "one", 10, 1) == []
    start_run(connection, streams, registry, "noop", "B")
    assert [each.queue for each in streams.queues.read(BOTH, "one", 10, 1)] == ["bench"]
    assert queues.resume_queue(connection, streams, "tests", Actor("bob")) == pause
    assert [streams.queues.read(BOTH, "one", 10, 1)[0].queue for _ in LANES] == list(LANES)
    rows = connection.execute("SELECT action, object_id, actor_user FROM audit_log ORDER BY id").fetchall()
    assert rows == [("queue.pause", "tests", "ann"), ("queue.resume", "tests", "bob")]


def test_what_cannot_be_paused_or_resumed_is_an_error_and_changes_nothing(
    connection: Connection, streams: Streams
) -> None:
    with pytest.raises(UnknownNameError, match=r"no queue is named 'testz'; did you mean 'tests'\?"):
        queues.pause_queue(connection, streams, "testz", "why")
    with pytest.raises(BadInputError, match="reason '' is not 1 to 500 printable characters"):
        queues.pause_queue(connection, streams, "tests", "")
    with pytest.raises(BadInputError, match="queue 'tests' is not paused"):
        queues.resume_queue(connection, streams, "tests")
    queues.pause_queue(connection, streams, "tests", "first")
    with pytest.raises(BadInputError, match=r"queue 'tests' is paused already, since .* by local: first"):
        queues.pause_queue(connection, streams, "tests", "second")
    assert read_pauses(connection)["tests"].reason == "first"


def test_pausing_says_how_many_entries_are_executed_still(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A", "B", priority="high")
    deliveries = consumer.read("tests/high")
    assert queues.pause_queue(connection, streams, "tests", "why")[1] == 2
    consumer.execute(deliveries)
    assert queues.count_executing(streams, "tests") == 0


def test_the_flags_of_an_emptied_redis_follow_the_ledger_before_anything_is_added_again(
    connection: Connection, streams: Streams, registry: Registry, pool: "ConnectionPool[Connection]"
) -> None:
    start_run(connection, streams, registry, "ledger_entry", "A")
    queues.pause_queue(connection, streams, "tests", "why")
    streams.client.raw.flushall()
    streams.queues.set_pauses(["bench"], ["bench"])  # of which the ledger knows nothing
    step_until_idle(Reconciler(pool, streams, BOTH, 1.0, 0.0, PoolMetrics()))
    assert streams.inspector.read_backlog("tests").waiting == 1
    streams.queues.ensure_groups(BOTH)
    assert streams.queues.read(BOTH, "one", 10, 1) == []
    assert streams.client.raw.exists(streams.keys.paused("tests"), streams.keys.paused("bench")) == 1
    queues.resume_queue(connection, streams, "tests")
    assert len(streams.queues.read(BOTH, "one", 10, 1)) == 1


def test_a_watch_sees_a_pause_in_the_ledger_and_its_end(connection: Connection, streams: Streams) -> None:
    watch = PauseWatch()
    assert watch.find(connection, {"tests"}) == set()
    queues.pause_queue(connection, streams, "tests", "why")
    seen = PauseWatch()
    assert (seen.find(connection, {"tests", "bench"}), seen.find(connection, {"bench"})) == ({"tests"}, set())
    queues.resume_queue(connection, streams, "tests")
    assert seen.find(connection, {"tests"}) == set()
