"""Listeners hear the messages of their own installation alone, and note when each came."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
import structlog
from psycopg_pool import ConnectionPool

from harness import wait_until
from patience import patient
from scheduler.listener import ChannelListener, Listener, StreamListener
from scheduler.message_inbox import DATA_LOADS, UNKNOWN_ARRIVAL, Arrival
from scheduler.message_neighbours import MessageNeighbours
from scheduler.metrics import SchedulerMetrics
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_GROUP, DATA_LOAD_STREAM


class Recorder:
    """Takes messages, and keeps how they came."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes | None, str, float, Arrival]] = []

    def accept(self, raw: bytes | None, source: str, sent_at: float, arrival: Arrival = UNKNOWN_ARRIVAL) -> None:
        self.taken.append((raw, source, sent_at, arrival))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def start(stack: ExitStack, metrics: SchedulerMetrics, *listeners: Listener) -> None:
    """Start listeners, wait until they listen, and stop them in the end."""
    for listener in listeners:
        listener.start()
        stack.callback(listener.join, patient(20))
    for listener in listeners:
        stack.callback(listener.stop)

    def connections() -> float:
        sources = {listener.source for listener in listeners}
        name = "streamworkers_listener_connections_total"
        return sum(metrics.registry.get_sample_value(name, {"source": source}) or 0.0 for source in sources)

    wait_until(lambda: connections() >= len(listeners), 20)


def test_two_installations_on_one_redis_do_not_hear_each_other(
    settings: Settings, metrics: SchedulerMetrics, stack: ExitStack
) -> None:
    assert settings.redis_url is not None
    url, recorders, opened = settings.redis_url.get_secret_value(), [], []
    names = (f"one{settings.key_prefix}", f"two{settings.key_prefix}")
    listeners: list[Listener] = []
    for name in names:
        messages, recorder = Messages(url, name, name), Recorder()
        stack.callback(messages.close)
        stack.callback(messages._client.delete, f"{name}.jobs.data_load.stream")
        listeners += [ChannelListener(messages, recorder, metrics), StreamListener(messages, recorder, metrics, name)]
        opened.append(messages)
        recorders.append(recorder)
    start(stack, metrics, *listeners)
    for name, messages in zip(names, opened, strict=True):
        messages.publish(DATA_LOAD_CHANNEL, name)
        messages._client.xadd(f"{name}.jobs.data_load.stream", {"message": name})
    wait_until(lambda: all(len(recorder.taken) == 2 for recorder in recorders), 20)
    heard = [sorted((raw, source) for raw, source, *_ in recorder.taken) for recorder in recorders]
    assert heard == [[(name.encode(), "pubsub"), (name.encode(), "stream")] for name in names]


def test_a_burst_is_heard_on_one_connection_and_taken_at_once(
    messages: Messages, metrics: SchedulerMetrics, stack: ExitStack
) -> None:
    recorder = Recorder()
    start(stack, metrics, ChannelListener(messages, recorder, metrics))
    pipe = messages._client.pipeline(transaction=False)
    for number in range(2000):
        pipe.publish(DATA_LOAD_CHANNEL, f"{number}".ljust(5000))
    pipe.execute()
    wait_until(lambda: len(recorder.taken) == 2000, 20)
    assert [int(raw or b"") for raw, *_ in recorder.taken] == list(range(2000))
    labels = {"source": "pubsub"}
    assert metrics.registry.get_sample_value("streamworkers_listener_connections_total", labels) == 1.0


def test_what_was_heard_while_postgresql_was_away_is_taken_afterwards_with_its_time(
    messages: Messages, metrics: SchedulerMetrics, stack: ExitStack
) -> None:
    class Away(Recorder):
        is_away = True

        def accept(self, raw: bytes | None, source: str, sent_at: float, arrival: Arrival = UNKNOWN_ARRIVAL) -> None:
            if self.is_away:
                raise psycopg.OperationalError("away")
            super().accept(raw, source, sent_at, arrival)

    recorder = Away()
    listener = ChannelListener(messages, recorder, metrics, replica="me")
    start(stack, metrics, listener)
    messages.publish(DATA_LOAD_CHANNEL, "held")
    wait_until(lambda: bool(listener._heard), 20)
    messages.publish(DATA_LOAD_CHANNEL, "behind it")
    wait_until(lambda: len(listener._heard) == 2, 20)
    came = [(each.raw, each.at, each.since) for each in listener._heard]
    recorder.is_away = False
    wait_until(lambda: len(recorder.taken) == 2, 20)
    assert [raw for raw, *_ in came] == [b"held", b"behind it"]
    assert [(raw, sent_at, arrival.since) for raw, _, sent_at, arrival in recorder.taken] == came
    assert {arrival.replica for *_, arrival in recorder.taken} == {"me"}


def test_a_scheduler_of_another_database_that_reads_the_same_stream_is_named(
    messages: Messages, pool: "ConnectionPool[Connection]", connection: Connection
) -> None:
    neighbours = MessageNeighbours(pool, messages)
    words = (DATA_LOAD_STREAM, DATA_LOAD_GROUP)
    connection.execute(
        "INSERT INTO processes (id, kind, host, pid, version, started_at, doing, state)"
        " VALUES ('own', 'scheduler', 'h', 1, '1', now(), '{}', 'ok')"
    )

    def read(name: str) -> None:
        messages._client.xadd(DATA_LOAD_STREAM, {"message": json.dumps({}).encode()})
        assert len(messages.read_inbox(*words, name, 1)) == 1

    for name in ("own", "killed", "other"):
        read(name)
    with structlog.testing.capture_logs() as logs:
        neighbours.look(DATA_LOADS)
        assert neighbours.describe() == []
        wait_until(lambda: _has_asked(messages, read, "other"), 20)
        neighbours.look(DATA_LOADS)
        neighbours.look(DATA_LOADS)
    assert neighbours.describe() == [f"{DATA_LOAD_STREAM} (other)"]
    (warning,) = (each for each in logs if each["event"] == "messages_shared")
    assert (warning["stream"], warning["readers"]) == (DATA_LOAD_STREAM, ["other"])
    assert warning["advice"] == "give each installation a STREAMWORKERS_MESSAGE_PREFIX of its own"


def _has_asked(messages: Messages, read: Any, name: str) -> bool:
    """Ask once more; True when the one that was killed has asked for nothing for longer."""
    idle = {each.name: each.idle_ms for each in messages.list_consumers(DATA_LOAD_STREAM, DATA_LOAD_GROUP)}
    if idle["killed"] < 500:
        return False
    read(name)
    return True
