"""Each message is in the history once, with what came of it, in the transaction of its run; floods are counted."""

import json
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from scheduler.listener import StreamListener
from scheduler.message_inbox import Arrival
from scheduler.messages_to_notifications import MessagesToNotifications
from scheduler.messages_to_runs import MessagesToRuns
from scheduler.metrics import SchedulerMetrics
from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_STREAM, ERRORS_CHANNEL
from streamworkers.messages.history import HistoryLimits
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition

SENT_AT = 1_800_000_100.0


@pytest.fixture(autouse=True)
def post_import(connection: Connection) -> None:
    """The schedule that the event starts, of a job that does nothing."""
    fields = {"name": "post_import_analysis", "job": "noop", "on_event": "data_load_complete"}
    store.save_schedule(connection, ScheduleDefinition.parse(fields))


def message(**fields: Any) -> bytes:
    return json.dumps({"event_type": "data_load_complete", "symbols": ["A"]} | fields).encode()


def history(connection: Connection) -> list[dict[str, Any]]:
    return fetch_rows(connection, "SELECT * FROM received_messages ORDER BY id")


def count_runs(connection: Connection) -> int:
    return int(fetch_value(connection, "SELECT count(*) FROM runs"))


def tells(connection: Connection) -> list[dict[str, Any]]:
    rows = connection.execute("SELECT payload FROM outbox WHERE channel = %s ORDER BY id", (ERRORS_CHANNEL,))
    return [payload for (payload,) in rows]


def limited(messages_to_runs: MessagesToRuns, **limits: int) -> MessagesToRuns:
    record = replace(messages_to_runs.record, limits=HistoryLimits(**limits))
    return replace(messages_to_runs, record=record)


def test_each_state_is_a_row_with_where_it_came_from_and_what_came_of_it(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    accept = messages_to_runs.accept
    (run,) = accept(message(job_id="one", requested_by="desk"), "pubsub", SENT_AT, Arrival("r")).runs
    accept(message(job_id="one"), "stream", SENT_AT, Arrival("r", "1-0"))
    accept(message(run_analysis=False, source="web"), "pubsub", SENT_AT, Arrival("r"))
    accept(b"\xff\x00", "pubsub", SENT_AT, Arrival("r"))
    rows = history(connection)
    assert [
        (
            each["state"],
            each["reason"],
            each["channel"],
            each["kind"],
            each["external_id"],
            each["sender"],
            each["runs"],
        )
        for each in rows
    ] == [
        ("accepted", "new", "tickstock.jobs.data_load", "data_load_complete", "one", "desk", [run]),
        ("repeated", "id", "tickstock.jobs.data_load.stream", "data_load_complete", "one", None, [run]),
        ("ignored", "run_analysis", "tickstock.jobs.data_load", "data_load_complete", None, "web", []),
        ("rejected", "not_json", "tickstock.jobs.data_load", None, None, None, []),
    ]
    assert [each["sent_at"].timestamp() for each in rows] == [SENT_AT] * 4
    assert [(each["entry_id"], bytes(each["content"])) for each in rows[1:4:2]] == [
        ("1-0", message(job_id="one")),
        (None, b"\xff\x00"),
    ]
    # What came twice by its id is normal; what was rejected is told.
    assert [(each["kind"], each["id"], each["channel"]) for each in tells(connection)] == [
        ("message_rejected", rows[3]["id"], "tickstock.jobs.data_load")
    ]


def test_a_message_that_replicas_hear_is_one_row_and_one_that_was_sent_twice_is_two(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    for raw in (message(), message(run_analysis=False), b"{"):
        kinds = [
            messages_to_runs.accept(raw, "pubsub", SENT_AT + 0.01 * number, Arrival(replica)).kind
            for number, replica in enumerate("aabbcc")
        ]
        assert kinds[2:] == ["duplicate"] * 4
    assert [(each["state"], sorted(each["received_by"])) for each in history(connection)] == [
        ("accepted", ["a", "b", "c"]),
        ("repeated", ["a", "b", "c"]),
        *[("ignored", ["a", "b", "c"])] * 2,
        *[("rejected", ["a", "b", "c"])] * 2,
    ]


def test_what_was_sent_before_a_replica_listened_is_no_copy_of_what_it_hears(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    accept = messages_to_runs.accept
    assert accept(message(), "pubsub", SENT_AT, Arrival("a")).kind == "started"
    late = Arrival("b", since=SENT_AT + 5)
    assert accept(message(), "pubsub", SENT_AT + 30, late).kind == "started"
    assert accept(message(), "pubsub", SENT_AT + 30.01, Arrival("a")).kind == "duplicate"
    assert count_runs(connection) == 2
    # What it receives while it begins to listen is one.
    assert accept(b"{", "pubsub", SENT_AT + 60, Arrival("a")).kind == "rejected"
    assert accept(b"{", "pubsub", SENT_AT + 60.4, Arrival("c", since=SENT_AT + 60.3)).kind == "duplicate"


def test_an_entry_that_is_read_again_is_no_second_message(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    for replica, kind in (("a", "started"), ("b", "duplicate"), ("b", "duplicate")):
        assert messages_to_runs.accept(message(), "stream", SENT_AT, Arrival(replica, "7-1")).kind == kind
    assert messages_to_runs.accept(message(), "stream", SENT_AT + 12, Arrival("b", "7-2")).kind == "started"
    assert [each["entry_id"] for each in history(connection)] == ["7-1", "7-2"]


def test_without_its_row_a_message_starts_no_run(messages_to_runs: MessagesToRuns, connection: Connection) -> None:
    connection.execute("ALTER TABLE received_messages ADD CONSTRAINT no CHECK (false)")
    with pytest.raises(psycopg.errors.CheckViolation):
        messages_to_runs.accept(message(), "pubsub", SENT_AT)
    assert (count_runs(connection), tells(connection)) == (0, [])
    connection.execute("ALTER TABLE received_messages DROP CONSTRAINT no")
    assert messages_to_runs.accept(message(), "pubsub", SENT_AT).kind == "started"


@pytest.mark.parametrize("window", [0.5, 10.0, 600.0])
def test_the_same_content_is_a_repetition_within_the_window_and_not_at_its_edges(
    window: float, messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    chosen = replace(messages_to_runs, record=replace(messages_to_runs.record, repeat_seconds=window))
    first = chosen.accept(message(), "pubsub", SENT_AT)
    for distance, word in ((window - 0.001, "earlier"), (0.001 - window, "later")):
        repeated = chosen.accept(message(), "stream", SENT_AT + distance)
        assert (repeated.kind, repeated.reason, repeated.runs) == ("repeated", "content", first.runs)
        assert repeated.detail == (
            f"without an id it says the same as message 1, which was sent {window - 0.001:g} s {word} and accepted"
        )
    # A repetition does not lengthen the window: it is that of the message that was accepted.
    assert chosen.accept(message(), "stream", SENT_AT + window).kind == "started"
    assert chosen.accept(message(), "stream", SENT_AT - window).kind == "started"
    assert count_runs(connection) == 3
    assert [(each["kind"], each["reason"]) for each in tells(connection)] == [("message_repeated", "content")] * 2


@pytest.mark.parametrize("minutes", [5, 10, 12, 15, 19, 21])
def test_a_producer_that_repeats_itself_every_few_minutes_gets_every_run(
    minutes: int, messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    for number in range(12):
        sent_at = SENT_AT + 60 * minutes * number
        # It sends to both, and two replicas hear the channel.
        kinds = [messages_to_runs.accept(message(), "pubsub", sent_at, Arrival(replica)).kind for replica in "ab"]
        kinds.append(messages_to_runs.accept(message(), "stream", sent_at + 2, Arrival("a", f"{number}-0")).kind)
        assert kinds == ["started", "duplicate", "repeated"]
    assert count_runs(connection) == 12


def test_a_flood_is_counted_beyond_so_many_rows_an_hour_however_many_replicas_hear_it(
    messages_to_runs: MessagesToRuns, connection: Connection
) -> None:
    few = limited(messages_to_runs, rows=3)
    for number in range(10):
        for replica in "abc":
            few.accept(message(run_analysis=False, event_id=f"e{number}"), "pubsub", SENT_AT, Arrival(replica))
            few.accept(b"{%d" % number, "pubsub", SENT_AT, Arrival(replica))
        few.accept(b"{%d" % number, "stream", SENT_AT, Arrival("abc"[number % 3], f"{number}-1"))
    rows = history(connection)
    counted = {(each["state"], each["source"]): each["times"] for each in rows if each["counted_from"] is not None}
    assert counted == {("ignored", "pubsub"): 7, ("rejected", "pubsub"): 7, ("rejected", "stream"): 7}
    assert len(rows) == 3 * 3 + 3
    assert {each["content"] for each in rows if each["counted_from"] is not None} == {None}
    # Each row of a rejected message is told, and the first of those that are counted.
    assert len(tells(connection)) == 2 * (3 + 1)
    assert tells(connection)[-1]["detail"].endswith(" (more follow, which are only counted)")
    assert few.accept(message(), "pubsub", SENT_AT).kind == "started"


def test_of_a_long_message_the_beginning_is_kept(messages_to_runs: MessagesToRuns, connection: Connection) -> None:
    limited(messages_to_runs, bytes=10).accept(b"[%s" % (b"x" * 100_000), "pubsub", SENT_AT)
    (row,) = history(connection)
    assert (bytes(row["content"]), row["content_bytes"]) == (b"[xxxxxxxxx", 100_001)


def test_an_entry_of_any_id_is_recorded(
    messages_to_runs: MessagesToRuns, messages: Messages, connection: Connection
) -> None:
    for entry_id in ("0-1", "18446744073709551615-7"):
        messages._client.xadd(DATA_LOAD_STREAM, {"message": message(event_id=entry_id)}, id=entry_id)
    listener = StreamListener(messages, messages_to_runs, messages_to_runs.metrics, "one")
    assert listener.read_once() == 2
    assert [(each["state"], each["sent_at"].year) for each in history(connection)] == [
        ("accepted", 1970),
        ("accepted", 2200),
    ]


def test_requests_to_notify_are_recorded_too(
    pool: Any, messages: Messages, metrics: SchedulerMetrics, connection: Connection
) -> None:
    acceptor = MessagesToNotifications(pool, messages, metrics)
    asked = {"user_id": "local", "message": "it fell", "source": "desk"}
    for seconds, user in ((0, "local"), (9.9, "local"), (10, "local"), (20, "nobody")):
        raw = json.dumps(asked | {"user_id": user, "sent_at": seconds}).encode()
        acceptor.accept(raw, "notify_pubsub", SENT_AT + seconds)
    rows = history(connection)
    assert [(each["state"], each["reason"], each["sender"]) for each in rows] == [
        ("accepted", "new", "desk"),
        ("repeated", "content", "desk"),
        ("accepted", "new", "desk"),
        ("rejected", "unknown_user", "desk"),
    ]
    ids = [row for (row,) in connection.execute("SELECT id FROM notifications ORDER BY created_at")]
    assert [rows[0]["notification_id"], rows[2]["notification_id"]] == ids
    assert rows[1]["notification_id"] == ids[0]
