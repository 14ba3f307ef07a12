"""Events for people become notifications exactly once, and what is wrong holds up nothing."""

import json
import threading
import uuid
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from harness import subscribe
from patience import patient
from scheduler.notification_inbox import LIMIT, NotificationInbox
from streamworkers import notify
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import NOTIFY_CHANNEL
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.errors import BadInputError
from streamworkers.notifications.store.notifications import count_rejected, read_notifications


@pytest.fixture
def woken() -> list[int]:
    """One element for each time that the router is woken."""
    return []


@pytest.fixture
def inbox(pool: "ConnectionPool[Connection]", woken: list[int]) -> NotificationInbox:
    return NotificationInbox(pool, lambda: woken.append(1))


def write(connection: Connection, *payloads: Any) -> list[uuid.UUID]:
    """Events as any program may write them."""
    ids = [uuid.uuid4() for _ in payloads]
    connection.cursor().executemany(
        "INSERT INTO outbox (event_id, channel, payload) VALUES (%s, %s, %s)",
        [(event_id, NOTIFY_CHANNEL, json.dumps(each)) for event_id, each in zip(ids, payloads, strict=True)],
    )
    return ids


def event(key: str, user: str = "local") -> dict[str, Any]:
    """The least that a notification needs."""
    return {"user_id": user, "type": "message", "dedup_key": key}


def count(connection: Connection, table: str) -> int:
    """The number of rows of a table."""
    return int(fetch_value(connection, f"SELECT count(*) FROM {table}"))


def test_a_notification_is_made_in_the_transaction_that_deletes_its_event(
    connection: Connection, inbox: NotificationInbox, woken: list[int]
) -> None:
    with connection.transaction():
        notify(connection, "local", "AAPL fell", dedup_key="a", priority="high", data={"symbol": "AAPL"})
    with connection.transaction(force_rollback=True):
        notify(connection, "local", "rolled back", dedup_key="b")
    event_id, written_at = connection.execute("SELECT event_id, created_at FROM outbox").fetchall()[0]
    assert inbox.run_once() is None
    (found,) = read_notifications(connection, [event_id])
    assert (found.user_id, found.type, found.dedup_key, found.priority) == ("local", "message", "a", "high")
    assert (found.data, found.created_at) == ({"text": "AAPL fell", "symbol": "AAPL"}, written_at)
    assert (count(connection, "outbox"), count(connection, "notifications"), woken) == (0, 1, [1])
    assert inbox.run_once() is None
    assert woken == [1]


def test_what_is_wrong_is_kept_with_its_reason_beside_what_is_right(
    connection: Connection, inbox: NotificationInbox
) -> None:
    connection.execute("ALTER TABLE outbox DROP CONSTRAINT outbox_payload_shape")  # as if it was written before
    ids = write(connection, [1], event("a", "nobody"), event("a"), event("b") | {"priority": 3}, event("c"))
    inbox.run_once()
    rows = connection.execute("SELECT event_id, payload, reason FROM rejected_notifications").fetchall()
    assert {row[0]: row[2] for row in rows} == {
        ids[0]: "the event is [1], not an object",
        ids[1]: "no user is named 'nobody'",
        ids[3]: "priority 3 is none of low, normal, high, urgent",
    }
    assert {row[0]: row[1] for row in rows}[ids[1]] == event("a", "nobody")
    assert {each.dedup_key for each in read_notifications(connection, ids)} == {"a", "c"}
    assert (count(connection, "outbox"), count_rejected(connection)[0]) == (0, 3)


def test_a_hundred_writers_of_one_key_make_one_notification(
    connection: Connection, database_url: str, pool: "ConnectionPool[Connection]"
) -> None:
    """Writers and three inboxes at the same time; other keys of the same writers are all there."""
    writers = 100
    write(connection, *(event("same") for _ in range(writers - 10)))
    barrier = threading.Barrier(8)
    left = iter(range(10))

    def write_some() -> None:
        barrier.wait()
        with connect(database_url, application="test") as own:
            for n in (0, 1):
                del n
                number = next(left)
                write(own, event("same"), event(f"own-{number}"))

    def take() -> None:
        barrier.wait()
        other = NotificationInbox(pool, lambda: None)
        for _ in range(20):
            other.run_once()

    threads = [threading.Thread(target=target) for target in [write_some] * 5 + [take] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while NotificationInbox(pool, lambda: None).run_once() == 0.0:
        continue
    keys = [key for (key,) in connection.execute("SELECT dedup_key FROM notifications ORDER BY 1")]
    assert keys == [*(f"own-{number}" for number in range(10)), "same"]
    assert (count(connection, "outbox"), count(connection, "rejected_notifications")) == (0, 0)


def test_one_key_is_one_notification_for_each_user(connection: Connection, inbox: NotificationInbox) -> None:
    connection.execute("INSERT INTO users (id) VALUES ('ana')")
    write(connection, event("a"), event("a", "ana"), event("a", "ana"))
    inbox.run_once()
    write(connection, event("a", "ana"))
    inbox.run_once()
    assert count(connection, "notifications") == 2


def test_a_step_is_bounded_and_says_that_there_is_more(connection: Connection, inbox: NotificationInbox) -> None:
    write(connection, *(event(str(n)) for n in range(LIMIT + 1)))
    assert inbox.run_once() == 0.0
    assert (count(connection, "outbox"), count(connection, "notifications")) == (1, LIMIT)
    assert inbox.run_once() is None
    assert count(connection, "notifications") == LIMIT + 1


@pytest.mark.parametrize("in_one_transaction", [True, False])
def test_a_step_that_dies_loses_and_doubles_nothing(
    connection: Connection, database_url: str, inbox: NotificationInbox, in_one_transaction: bool
) -> None:
    """It dies between the delete and the insert. The control deletes in a transaction of its own, and loses it."""
    write(connection, event("a"), event("b"))
    dying = connect(database_url, application="test-dying")
    if in_one_transaction:
        dying.execute("BEGIN")
    assert len(ledger.take_notify_events(dying, 1)) == 1
    assert inbox.run_once() is None  # the other one is not held up
    connection.execute("SELECT pg_terminate_backend(%s)", (dying.info.backend_pid,))
    dying.close()
    connection.execute("SELECT pg_stat_clear_snapshot()")
    while count(connection, "outbox"):
        inbox.run_once()
    assert count(connection, "notifications") == (2 if in_one_transaction else 1)


def test_the_relay_leaves_events_for_people_alone(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams
) -> None:
    """It publishes what is behind them, and counts of the outbox are of what is to be published."""
    listener, people = subscribe(streams, "tests.other"), subscribe(streams, NOTIFY_CHANNEL)
    write(connection, event("a"))
    ledger.add_events(connection, [Event("tests.other", {"n": 1})])
    connection.execute("UPDATE outbox SET created_at = created_at - interval '5 minutes'")
    assert ledger.read_outbox_state(connection)[0] == 1
    assert (ledger.count_late_events(connection, 60), ledger.count_late_notify_events(connection, 60)) == (1, 1)
    assert OutboxRelay(pool, streams, ServiceMetrics()).run_once() is None
    assert json.loads(listener.get_message(timeout=patient(30))["data"])["n"] == 1
    assert people.get_message(timeout=0.05) is None
    listener.close()
    people.close()
    assert connection.execute("SELECT channel FROM outbox").fetchall() == [(NOTIFY_CHANNEL,)]
    assert (ledger.read_outbox_state(connection), ledger.count_late_events(connection, 60)) == ((0, 0.0), 0)


def test_notify_raises_before_anything_is_written(connection: Connection) -> None:
    with pytest.raises(BadInputError, match="text '' is not a text of 1 to 10,000 characters"):
        notify(connection, "local", "", dedup_key="a")
    assert count(connection, "outbox") == 0
