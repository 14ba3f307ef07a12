"""Messages of other programs become runs, once each."""

import json
import random
import threading
from dataclasses import replace
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from harness import wait_until
from patience import patient
from scheduler.listener import RECLAIM_IDLE_MS, ChannelListener, StreamListener
from scheduler.message_inbox import Arrival
from scheduler.message_record import MessageResult
from scheduler.messages_to_runs import MessagesToRuns
from scheduler.metrics import SchedulerMetrics
from scheduler.pool_watch import PoolWatch
from scheduler.status import StatusFollower
from streamworkers.admin import runs as operations
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Job, RunRequest
from streamworkers.engine.ledger.outbox import take_notify_events
from streamworkers.engine.preparation import MOST_LOST, LostInPrepareError
from streamworkers.engine.redis import keys
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_GROUP, DATA_LOAD_STREAM, ERRORS_CHANNEL
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.notifications.notification import parse_notification
from streamworkers.notifications.wording import write_content
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition

SENT_AT = 1_800_000_100.0


@pytest.fixture(autouse=True)
def post_import(connection: Connection) -> None:
    """The schedule that the event starts, of a job that does nothing."""
    fields = {"name": "post_import_analysis", "job": "noop", "on_event": "data_load_complete"}
    store.save_schedule(connection, ScheduleDefinition.parse(fields))


def _message(**fields: Any) -> bytes:
    given = {"event_type": "data_load_complete", "symbols": ["A", "B"], "timeframe": "daily", "run_analysis": True}
    return json.dumps(given | fields).encode()


def _runs(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT job, timeframe, target, trigger, schedule, external_id FROM runs ORDER BY id"
    ).fetchall()


def _status(messages: Messages, job_id: str) -> dict[str, str]:
    found: Any = messages._client.hgetall(keys.job_status(job_id))
    return {name.decode(): value.decode() for name, value in found.items()}


def test_a_message_whose_prepare_loses_its_connection_is_rejected_in_the_end(
    messages_to_runs: MessagesToRuns, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(job: Job[Any], opened: Connection, request: RunRequest) -> RunRequest:
        del job
        if "BAD" in request.symbols:
            opened.close()
        return request

    monkeypatch.setattr(type(messages_to_runs.runs.registry["noop"]), "prepare", close)
    bad = _message(symbols=["BAD"], job_id="lost")
    for _ in range(MOST_LOST):
        with pytest.raises(LostInPrepareError, match="prepare of job 'noop': it left the connection closed"):
            messages_to_runs.accept(bad, "stream", SENT_AT)
    result = messages_to_runs.accept(bad, "stream", SENT_AT)
    assert (result.kind, result.reason) == ("rejected", "bad_field")
    assert result.detail.startswith("PostgreSQL was lost 3 times while the job prepared this run")
    assert messages_to_runs.accept(_message(job_id="found"), "stream", SENT_AT).kind == "started"
    assert len(_runs(connection)) == 1


def test_a_load_that_is_complete_starts_one_run_however_often_it_is_reported(
    messages_to_runs: MessagesToRuns, connection: Connection, streams: Streams, messages: Messages
) -> None:
    message = _message(job_id="load-1", requested_by="desk")
    first = messages_to_runs.accept(message, "pubsub", SENT_AT)
    assert first == MessageResult("started", "new", "", first.runs)
    again = _message(job_id="load-1", requested_by="desk", timestamp="later")
    for raw, source in ((message, "pubsub"), (again, "stream")):
        repeated = messages_to_runs.accept(raw, source, SENT_AT + 86_400)
        detail = f"what it asks for exists already: run {first.runs[0]}"
        assert repeated == MessageResult("repeated", "id", detail, first.runs)
    assert _runs(connection) == [("noop", "day", "A,B", "event", "post_import_analysis", "load-1")]
    assert streams.inspector.read_backlog("bench").waiting == 2
    status = _status(messages, "load-1")
    assert (status["status"], status["progress"], status["message"]) == ("submitted", "0", "run 1: 2 items of noop")
    assert 0 < messages._client.ttl(keys.job_status("load-1")) <= 600


def test_each_timeframe_of_a_load_is_a_run(messages_to_runs: MessagesToRuns, connection: Connection) -> None:
    messages_to_runs.accept(_message(job_id="x", timeframes=["1min", "hour"]), "pubsub", SENT_AT)
    assert [row[1] for row in _runs(connection)] == ["1min", "hour"]
    assert messages_to_runs.accept(_message(job_id="x", timeframe="hour"), "pubsub", SENT_AT).kind == "repeated"
    assert messages_to_runs.accept(_message(job_id="x", timeframe="day"), "pubsub", SENT_AT).kind == "started"


def test_a_message_without_an_id_is_known_by_its_content_for_a_while(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    assert messages_to_runs.accept(_message(), "pubsub", SENT_AT).kind == "started"
    assert messages_to_runs.accept(_message(timestamp="2026-01-01T00:00:00"), "stream", SENT_AT).kind == "repeated"
    assert messages_to_runs.accept(_message(symbols=["C"]), "pubsub", SENT_AT).kind == "started"
    for seconds in (-9.999, -1, 1, 9.999):
        assert messages_to_runs.accept(_message(), "pubsub", SENT_AT + seconds).kind == "repeated"
    for seconds in (10, -10, 20):
        assert messages_to_runs.accept(_message(), "pubsub", SENT_AT + seconds).kind == "started"
    assert len(_runs(connection)) == 5


def test_a_message_that_was_held_for_long_is_the_one_that_others_took_at_once(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    assert messages_to_runs.accept(_message(), "pubsub", SENT_AT).kind == "started"
    connection.execute("UPDATE runs SET created_at = created_at - interval '1 day'")
    assert messages_to_runs.accept(_message(), "stream", SENT_AT).kind == "repeated"


def test_a_message_that_a_job_cannot_bear_is_rejected_and_the_next_is_heard(
    messages_to_runs: MessagesToRuns, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("prepare")

    with monkeypatch.context() as patch:
        patch.setattr(type(messages_to_runs.runs.registry["noop"]), "prepare", fail)
        outcome = messages_to_runs.accept(_message(job_id="x"), "pubsub", SENT_AT)
    assert (outcome.kind, outcome.reason, outcome.detail) == (
        "rejected",
        "internal_error",
        "ZeroDivisionError: prepare",
    )
    assert messages_to_runs.accept(_message(job_id="y"), "pubsub", SENT_AT).kind == "started"


def test_a_schedule_that_was_broken_by_hand_keeps_no_other_from_the_event(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    fields = {"name": "broken", "job": "noop", "on_event": "data_load_complete"}
    store.save_schedule(connection, ScheduleDefinition.parse(fields))
    connection.execute('UPDATE schedules SET target = \'{"universe": "u", "symbols": ["A"]}\' WHERE name = \'broken\'')
    assert messages_to_runs.accept(_message(), "pubsub", SENT_AT).kind == "started"
    store.remove_schedule(connection, "post_import_analysis")
    outcome = messages_to_runs.accept(_message(symbols=["Z"]), "pubsub", SENT_AT)
    assert (outcome.kind, outcome.reason) == ("rejected", "bad_field")
    assert "a target is either a universe or symbols" in outcome.detail


@pytest.mark.parametrize("words", [{"job_id": "j"}, {"event_id": "e"}, {}])
def test_replicas_that_hear_a_message_at_once_start_one_run(
    words: dict[str, str], messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    for number in range(5):
        barrier, outcomes = threading.Barrier(3), list[str]()

        def hear(raw: bytes, replica: str, barrier: threading.Barrier, outcomes: list[str]) -> None:
            barrier.wait()
            outcomes.append(messages_to_runs.accept(raw, "pubsub", SENT_AT, Arrival(replica)).kind)

        raw = _message(**{name: f"{value}{number}" for name, value in words.items()}, symbols=[f"S{number}"])
        threads = [threading.Thread(target=hear, args=(raw, replica, barrier, outcomes)) for replica in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["duplicate", "duplicate", "started"]
    assert len(_runs(connection)) == 5
    rows = connection.execute(
        "SELECT state, (SELECT count(*) FROM jsonb_object_keys(received_by)) FROM received_messages"
    )
    assert rows.fetchall() == [("accepted", 3)] * 5


def test_what_is_not_to_be_analysed_or_paused_is_ignored(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    assert messages_to_runs.accept(_message(run_analysis=False), "pubsub", SENT_AT).reason == "run_analysis"
    store.set_enabled(connection, "post_import_analysis", False)
    outcome = messages_to_runs.accept(_message(), "pubsub", SENT_AT)
    assert (outcome.kind, outcome.detail) == ("ignored", "schedule post_import_analysis is paused")
    assert _runs(connection) == []


@pytest.mark.parametrize(
    ("raw", "reason", "detail"),
    [
        (b"{", "not_json", "the message is not JSON: b'{' (at line 1, column 2: it ends too early)"),
        (b"[1]", "not_an_object", "the message is [1], not a JSON object"),
        (b'{"event_type": "x"}', "unknown_type", "the message is of type 'x', not event_type 'data_load_complete'"),
        (_message(symbols=[]), "bad_field", "symbols [] is not a list of at least one symbol"),
        (
            b"x" * 1_048_577,
            "too_large",
            "the message of 1,048,577 bytes exceeds STREAMWORKERS_MESSAGE_MAX_BYTES=1048576",
        ),
        (None, "no_message", "the entry has no field `message`"),
        (_message(job_type="csv_universe_load", event_type=None), "unknown_type", "the message is of type None"),
    ],
)
def test_what_is_no_good_is_rejected_told_once_and_counted(
    raw: bytes | None,
    reason: str,
    detail: str,
    messages_to_runs: MessagesToRuns,
    connection: Connection,
    metrics: SchedulerMetrics,
) -> None:
    outcome = messages_to_runs.accept(raw, "pubsub", SENT_AT, Arrival("a"))
    assert (outcome.kind, outcome.reason) == ("rejected", reason)
    assert outcome.detail.startswith(detail)
    assert messages_to_runs.accept(raw, "pubsub", SENT_AT, Arrival("b")).kind == "duplicate"
    (told,) = (row[0] for row in connection.execute("SELECT payload FROM outbox WHERE channel = %s", (ERRORS_CHANNEL,)))
    assert (told["kind"], told["reason"], told["source"]) == ("message_rejected", reason, "pubsub")
    assert told["detail"].startswith(detail)
    labels = {"source": "pubsub", "outcome": "rejected", "reason": reason}
    assert metrics.registry.get_sample_value("streamworkers_messages_total", labels) == 1.0
    assert _runs(connection) == []
    notices = [parse_notification(*event) for event in take_notify_events(connection, 10)]
    (notice,) = {each.dedup_key: each for each in notices}.values()
    assert (notice.type, notice.user_id, notice.priority) == ("message_rejected", "local", "high")
    assert write_content(notice).lines == (outcome.detail[:1000].strip(), f"It came by pubsub ({reason})")


def test_a_load_request_is_rejected_where_there_is_no_job_for_it(
    messages_to_runs: MessagesToRuns, messages: Messages, registry: Registry
) -> None:
    few = Registry(job for name, job in registry.items() if name != "load_ohlcv")
    messages_to_runs = replace(messages_to_runs, runs=replace(messages_to_runs.runs, registry=few))
    raw = json.dumps({"job_type": "csv_universe_load", "job_id": "load-9", "symbols": ["A"]}).encode()
    outcome = messages_to_runs.accept(raw, "pubsub", SENT_AT)
    assert (outcome.kind, outcome.reason) == ("rejected", "unknown_job")
    assert outcome.detail == "job 'load_ohlcv', which loads bars, is not installed"
    assert _status(messages, "load-9")["status"] == "failed"
    assert _status(messages, "load-9")["message"] == outcome.detail


def test_without_a_schedule_for_the_event_the_message_says_how_to_get_one(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    store.remove_schedule(connection, "post_import_analysis")
    outcome = messages_to_runs.accept(_message(), "pubsub", SENT_AT)
    assert outcome.reason == "no_schedule"
    assert outcome.detail == (
        "no schedule is started by data_load_complete: `streamworkers schedules install-defaults`"
    )


def test_fifty_malformed_messages_are_rejected_and_the_next_one_runs(
    messages_to_runs: MessagesToRuns, connection: Connection, messages: Messages, streams: Streams
) -> None:
    rng = random.Random(50)
    good = _message(job_id="good")
    for number in range(50):
        broken = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        broken[0:1] = rng.choice([b"", b"[", b"\xff", b"{{"])
        messages._client.xadd(DATA_LOAD_STREAM, {"message" if number % 5 else "other": bytes(broken)})
    messages._client.xadd(DATA_LOAD_STREAM, {"message": good})
    listener = StreamListener(messages, messages_to_runs, messages_to_runs.metrics, "one")
    assert listener.read_once() == 51
    assert len(_runs(connection)) == 1
    assert messages._client.xlen(DATA_LOAD_STREAM) == 0
    assert messages._client.xpending(DATA_LOAD_STREAM, DATA_LOAD_GROUP)["pending"] == 0


def test_a_huge_message_is_rejected_by_its_size_and_the_next_one_runs(
    messages_to_runs: MessagesToRuns, connection: Connection, messages: Messages
) -> None:
    for raw in (b" " * 3_000_000, _message(job_id="good")):
        messages._client.xadd(DATA_LOAD_STREAM, {"message": raw})
    assert StreamListener(messages, messages_to_runs, messages_to_runs.metrics, "one").read_once() == 2
    assert len(_runs(connection)) == 1
    detail = "the message of 3,000,000 bytes exceeds STREAMWORKERS_MESSAGE_MAX_BYTES=1048576"
    query = "SELECT reason, detail, content_bytes FROM received_messages WHERE state = 'rejected'"
    assert connection.execute(query).fetchall() == [("too_large", detail, 3_000_000)]


def test_what_a_dead_replica_had_read_is_done_by_another(
    messages_to_runs: MessagesToRuns, connection: Connection, messages: Messages
) -> None:
    messages._client.xadd(DATA_LOAD_STREAM, {"message": _message(job_id="left")})
    words = (DATA_LOAD_STREAM, DATA_LOAD_GROUP, "dead")
    assert len(messages.read_inbox(*words, 10)) == 1
    listener = StreamListener(messages, messages_to_runs, messages_to_runs.metrics, "one")
    assert listener.read_once() == 0
    (pending,) = messages._client.xpending_range(DATA_LOAD_STREAM, DATA_LOAD_GROUP, "-", "+", 10)
    messages._client.execute_command(  # type: ignore[no-untyped-call]
        *("XCLAIM", DATA_LOAD_STREAM, DATA_LOAD_GROUP, "dead", 0, pending["message_id"], "IDLE", RECLAIM_IDLE_MS)
    )
    assert listener.read_once() == 1
    assert len(_runs(connection)) == 1


def test_the_status_follows_the_run_to_its_end(
    messages_to_runs: MessagesToRuns,
    connection: Connection,
    messages: Messages,
    streams: Streams,
    pool: "ConnectionPool[Connection]",
) -> None:
    (run_id,) = messages_to_runs.accept(_message(job_id="s"), "pubsub", SENT_AT).runs
    follower = StatusFollower(pool, messages, 600)
    pause = follower.run_once()
    assert pause is not None
    assert pause >= 0.5
    assert _status(messages, "s")["status"] == "submitted"
    connection.execute("UPDATE run_items SET status = 'completed', finished_at = now() WHERE symbol = 'A'")
    ledger.mark_running(connection, [run_id])
    follower.run_once()
    status = _status(messages, "s")
    assert (status["status"], status["progress"]) == ("running", "50")
    assert status["message"] == "A day: 1 of 2 items of noop"
    connection.execute("UPDATE run_items SET status = 'failed', error = 'x' WHERE symbol = 'B'")
    run = operations.require_run(connection, run_id)
    ledger.close_runs(connection, [run])
    follower.run_once()
    status = _status(messages, "s")
    assert (status["status"], status["progress"]) == ("completed_with_errors", "100")
    assert status["message"] == "2 of 2 items of noop, 1 failed"
    assert status["submitted_at"] < status["started_at"] < status["completed_at"]
    assert follower.run_once() is None
    operations.retry(connection, streams, run_id)
    follower.run_once()
    assert _status(messages, "s")["status"] == "running"


def test_the_channel_is_heard_and_the_stream_read_by_threads_that_find_redis_again(
    messages_to_runs: MessagesToRuns,
    connection: Connection,
    messages: Messages,
    streams: Streams,
    metrics: SchedulerMetrics,
) -> None:
    listeners = (
        ChannelListener(messages, messages_to_runs, metrics),
        StreamListener(messages, messages_to_runs, messages_to_runs.metrics, "one"),
    )

    def connections(source: str) -> float:
        labels = {"source": source}
        return metrics.registry.get_sample_value("streamworkers_listener_connections_total", labels) or 0.0

    for listener in listeners:
        listener.start()
    try:
        wait_until(lambda: connections("pubsub") == connections("stream") == 1.0, 10)
        messages.publish(DATA_LOAD_CHANNEL, _message(job_id="1").decode())
        messages._client.xadd(DATA_LOAD_STREAM, {"message": _message(job_id="2")})
        wait_until(lambda: len(_runs(connection)) == 2, 10)
        for kind in ("pubsub", "normal"):
            streams.client.raw.client_kill_filter(_type=kind, skipme=True)
        wait_until(lambda: connections("pubsub") > 1.0, 20)
        messages.publish(DATA_LOAD_CHANNEL, _message(job_id="3").decode())
        messages._client.xadd(DATA_LOAD_STREAM, {"message": _message(job_id="4")})
        wait_until(lambda: len(_runs(connection)) == 4, 20)
    finally:
        for listener in listeners:
            listener.stop()
        for listener in listeners:
            listener.join(patient(10))
    groups: Any = messages._client.xinfo_consumers(DATA_LOAD_STREAM, DATA_LOAD_GROUP)
    assert groups == []


def test_without_a_worker_the_scheduler_says_so_once_in_a_while(
    connection: Connection, streams: Streams, pool: "ConnectionPool[Connection]"
) -> None:
    watch = PoolWatch(pool, streams)
    for _ in range(3):
        watch.run_once()
    rows = connection.execute("SELECT component, status, message, run_id FROM health_checks").fetchall()
    assert rows == [("workers", "critical", "no worker is alive", None)]
    assert connection.execute("SELECT channel FROM outbox").fetchall() == [("tickstock:monitoring",)]
    streams.heartbeats.beat("w", SupervisorStatus(), 60_000)
    watch.run_once()
    streams.heartbeats.end("w")
    watch.run_once()
    assert connection.execute("SELECT count(*) FROM health_checks").fetchone() == (2,)


def test_consumers_that_have_been_idle_for_long_are_forgotten(
    messages_to_runs: MessagesToRuns, messages: Messages
) -> None:
    words = (DATA_LOAD_STREAM, DATA_LOAD_GROUP)
    messages._client.xadd(DATA_LOAD_STREAM, {"message": b"{"})
    messages.read_inbox(*words, "busy", 10)
    messages._client.xgroup_createconsumer(*words, "idle")
    assert messages.prune_inbox(*words, 3_600_000) == 0
    assert messages.prune_inbox(*words, 0) == 1
    rows: Any = messages._client.xinfo_consumers(*words)
    assert [row["name"] for row in rows] == [b"busy"]
    assert messages.prune_inbox("no-such-stream", DATA_LOAD_GROUP, 0) == 0
