"""`streamworkers messages`: what came is listed and shown, and what was not accepted is replayed at most once."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from command_line import Run
from scheduler.message_record import MessageRecord
from scheduler.message_runs import MessageRuns
from scheduler.messages_to_notifications import MessagesToNotifications
from scheduler.messages_to_runs import MessagesToRuns
from scheduler.metrics import SchedulerMetrics
from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.universes.store import resolve
from streamworkers.messages.history import HistoryLimits

SENT_AT = 1_800_000_100.0
EVENT = "schedules add post --job noop --on-event data_load_complete"


@pytest.fixture
def messages(settings: Settings) -> Iterator[Messages]:
    assert settings.redis_url is not None
    opened = Messages(settings.redis_url.get_secret_value(), settings.key_prefix)
    yield opened
    opened.close()


@pytest.fixture
def acceptor(
    pool: "ConnectionPool[Connection]", streams: Streams, messages: Messages, registry: Registry
) -> MessagesToRuns:
    """What takes messages in a scheduler; it keeps 200 bytes of each, and a row of two of a state in an hour."""
    record = MessageRecord(HistoryLimits(200, 2))
    runs = MessageRuns(registry, resolve)
    return MessagesToRuns(pool, streams, messages, runs, SchedulerMetrics(), 600, record=record)


def loaded(**fields: Any) -> bytes:
    return json.dumps({"event_type": "data_load_complete", "symbols": ["A"], "requested_by": "desk"} | fields).encode()


def count_runs(connection: Connection) -> int:
    return int(fetch_value(connection, "SELECT count(*) FROM runs"))


def test_messages_are_listed_by_state_channel_and_time_and_shown_with_their_content(
    cli: Run, acceptor: MessagesToRuns
) -> None:
    assert cli("messages", "list").out == "no messages match\n"
    acceptor.accept(loaded(), "pubsub", SENT_AT)
    cli(*EVENT.split())
    (run,) = acceptor.accept(loaded(), "stream", SENT_AT).runs
    acceptor.accept(b"{", "stream", SENT_AT)
    rows = cli("messages", "list", "--json").json
    assert [(row["id"], row["state"], row["reason"], row["runs"]) for row in rows] == [
        (3, "rejected", "not_json", []),
        (2, "accepted", "new", [run]),
        (1, "rejected", "no_schedule", []),
    ]
    line = cli("messages", "list", "--state", "rejected", "--limit", "1").out.splitlines()[1]
    assert line.split()[3:] == [
        *("tickstock.jobs.data_load.stream", "rejected", "1", "not_json:", "the"),
        *("message", "is", "not", "JSON:", "b'{'", "(at", "line", "1,", "column", "2:", "it", "ends", "too", "early)"),
    ]
    for options, ids in (
        (("--state", "rejected"), [3, 1]),
        (("--channel", "tickstock.jobs.data_load.stream"), [3, 2]),
        (("--channel", "tickstock.notifications"), []),
        (("--since", "2000-01-01"), [3, 2, 1]),
        (("--since", "2999-01-01"), []),
        (("--limit", "1"), [3]),
    ):
        assert [row["id"] for row in cli("messages", "list", *options, "--json").json] == ids
    shown = cli("messages", "show", "2").out
    for part in (f"runs: {run}", "sender: desk", "sent_at: 2027-01-15", f"content: {loaded().decode()}"):
        assert part in shown
    assert cli("messages", "show", "1", "--json").json["content"] == loaded().decode()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("show", "7"), "no message has the id 7: see `streamworkers messages list`"),
        (("replay", "7"), "no message has the id 7: see `streamworkers messages list`"),
        (("list", "--channel", "tickstock.jobs"), "no channel is named 'tickstock.jobs'"),
        (("list", "--state", "refused"), "--state 'refused' is not one of accepted, repeated, ignored, rejected"),
        (("list", "--since", "soon"), "'soon'"),
    ],
)
def test_what_there_is_not_is_named(words: tuple[str, ...], error: str, cli: Run, connection: Connection) -> None:
    answer = cli("messages", *words)
    assert answer.code == 2
    assert error in answer.err


def test_a_rejected_message_is_replayed_once_when_its_cause_is_mended(
    cli: Run, acceptor: MessagesToRuns, connection: Connection
) -> None:
    acceptor.accept(loaded(), "pubsub", SENT_AT)
    answer = cli("messages", "replay", "1")
    assert answer.code == 2
    assert "message 1 would be rejected again (no_schedule): no schedule is started by data_load_complete" in answer.err
    assert count_runs(connection) == 0
    cli(*EVENT.split())
    assert cli("messages", "replay", "1").out == "message 1 replayed: run 1\n"
    assert cli("messages", "replay", "1").out == "message 1 was replayed: run 1\n"
    assert cli("messages", "replay", "1", "--json").json == {
        "id": 1,
        "runs": [1],
        "notification_id": None,
        "is_new": False,
    }
    runs = connection.execute("SELECT trigger, schedule, target, timeframe, status FROM runs").fetchall()
    assert runs == [("event", "post", "A", "day", "PENDING")]
    shown = cli("messages", "show", "1", "--json").json
    assert (shown["state"], shown["runs"], shown["replayed_by"]) == ("rejected", [1], "local")
    audited = connection.execute(
        "SELECT outcome, object_id, after FROM audit_log WHERE action = 'message.replay' ORDER BY id"
    ).fetchall()
    assert audited == [("rejected", "1", None), ("ok", "1", {"runs": [1], "notification": None})]


def test_an_ignored_message_is_replayed_when_its_schedule_goes_on(
    cli: Run, acceptor: MessagesToRuns, connection: Connection
) -> None:
    cli(*EVENT.split(), "--paused")
    acceptor.accept(loaded(job_id="load-1"), "pubsub", SENT_AT)
    assert "message 1 would be ignored again: schedule post is paused" in cli("messages", "replay", "1").err
    cli("schedules", "resume", "post")
    assert cli("messages", "replay", "1").out == "message 1 replayed: run 1\n"
    # The program sends it again: it has its run.
    assert acceptor.accept(loaded(job_id="load-1"), "stream", SENT_AT + 60).kind == "repeated"
    assert count_runs(connection) == 1
    assert "run 1" in cli("messages", "replay", "2").out
    assert count_runs(connection) == 1


def test_a_request_to_notify_is_replayed_for_a_user_who_exists_by_now(
    cli: Run, pool: "ConnectionPool[Connection]", messages: Messages, connection: Connection
) -> None:
    acceptor = MessagesToNotifications(pool, messages, SchedulerMetrics())
    acceptor.accept(b'{"user_id": "ana", "message": "it fell"}', "notify_stream", SENT_AT)
    assert "no user is named 'ana'" in cli("messages", "replay", "1").err
    cli("users", "add", "ana")
    answers = [cli("messages", "replay", "1").out for _ in range(2)]
    found = fetch_value(connection, "SELECT id FROM notifications WHERE user_id = 'ana'")
    assert answers == [f"message 1 {word}replayed: notification {found}\n" for word in ("", "was ")]


def test_what_cannot_be_replayed_is_said(cli: Run, acceptor: MessagesToRuns, connection: Connection) -> None:
    for number in range(3):
        acceptor.accept(loaded(symbols=[f"S{number}"] * 60), "pubsub", SENT_AT)
    cli(*EVENT.split())
    acceptor.accept(loaded(job_id="a"), "pubsub", SENT_AT)
    for number, error in (
        (1, "message 1 only 200 are kept (STREAMWORKERS_MESSAGE_HISTORY_BYTES): send it again"),
        (3, "row 3 only counts no_schedule messages, it has no content: send them again"),
        (4, "message 4 was accepted, it has nothing to make up for: run 1"),
    ):
        answer = cli("messages", "replay", number)
        assert answer.code == 2
        assert error in answer.err
    assert count_runs(connection) == 1
    assert "content (its beginning): " in cli("messages", "show", "1").out
