"""Messages of other programs become notifications exactly once, by channel and stream; wrong ones are visible."""

import json
import threading
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from harness import wait_until
from patience import patient
from scheduler.listener import RECLAIM_IDLE_MS, ChannelListener, StreamListener
from scheduler.message_inbox import NOTIFICATIONS, Arrival
from scheduler.messages_to_notifications import MessagesToNotifications
from scheduler.metrics import SchedulerMetrics
from scheduler.notification_inbox import NotificationInbox
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.redis.inbox import Messages

SENT_AT = 1_700_000_123.0


@pytest.fixture
def woken() -> list[int]:
    """One element for each time that the router is woken."""
    return []


@pytest.fixture
def acceptor(
    pool: "ConnectionPool[Connection]", messages: Messages, metrics: SchedulerMetrics, woken: list[int]
) -> MessagesToNotifications:
    return MessagesToNotifications(pool, messages, metrics, lambda: woken.append(1))


def request(**fields: Any) -> bytes:
    """A request as clients of the replaced system send it."""
    return json.dumps({"user_id": "local", "message": "AAPL fell", "priority": "high"} | fields).encode()


def notified(connection: Connection) -> list[tuple[str, ...]]:
    """What users are notified of, by text."""
    return connection.execute(
        "SELECT user_id, type, priority, data ->> 'text' FROM notifications ORDER BY 4"
    ).fetchall()


def test_a_message_is_one_notification_however_often_and_by_whatever_way_it_comes(
    acceptor: MessagesToNotifications, connection: Connection, woken: list[int], metrics: SchedulerMetrics
) -> None:
    first = acceptor.accept(request(message_id="1", notification_type="price"), "notify_pubsub", SENT_AT)
    assert (first.kind, first.reason) == ("notified", "new")
    assert first.detail == f"notification {fetch_value(connection, 'SELECT id FROM notifications')}"
    again = acceptor.accept(request(message_id="1", message="other"), "notify_stream", SENT_AT + 86_400)
    assert (again.kind, again.reason) == ("repeated", "id")
    assert again.detail == f"what it asks for exists already: {first.detail}"
    assert notified(connection) == [("local", "price", "high", "AAPL fell")]
    assert woken == [1]
    labels = {"source": "notify_pubsub", "outcome": "notified", "reason": "new"}
    assert metrics.registry.get_sample_value("streamworkers_messages_total", labels) == 1.0


def test_replicas_that_receive_a_message_without_an_id_by_channel_and_stream_make_one(
    acceptor: MessagesToNotifications, connection: Connection
) -> None:
    edge = 1_700_000_400.0
    ready = threading.Barrier(4)

    def take(number: int) -> None:
        ready.wait(patient(20))
        if number:
            acceptor.accept(request(), "notify_pubsub", edge - 1 + number % 2, Arrival(f"replica-{number}"))
        else:
            acceptor.accept(request(), "notify_stream", edge, Arrival(entry_id="1700000400000-0"))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(patient(20))
    assert notified(connection) == [("local", "message", "high", "AAPL fell")]
    rows = connection.execute("SELECT state, count(*) FROM received_messages GROUP BY 1 ORDER BY 1").fetchall()
    assert rows == [("accepted", 1), ("repeated", 1)]
    assert acceptor.accept(request(), "notify_pubsub", edge + 12, Arrival("replica-1")).kind == "notified"


@pytest.mark.parametrize(
    ("raw", "reason", "detail"),
    [
        (request(user_id="nobody"), "unknown_user", "no user is named 'nobody'"),
        (request(priority="critical"), "bad_field", "priority 'critical' is none of low, normal, high, urgent"),
        (b"{", "not_json", "the message is not JSON"),
        (None, "no_message", "the entry has no field `message`"),
    ],
)
def test_a_wrong_message_is_rejected_counted_and_notified(
    raw: bytes | None,
    reason: str,
    detail: str,
    acceptor: MessagesToNotifications,
    connection: Connection,
    metrics: SchedulerMetrics,
    pool: "ConnectionPool[Connection]",
) -> None:
    found = acceptor.accept(raw, "notify_stream", SENT_AT, Arrival("a", "1-1"))
    assert (found.kind, found.reason) == ("rejected", reason)
    assert found.detail.startswith(detail)
    assert acceptor.accept(raw, "notify_stream", SENT_AT, Arrival("b", "1-1")).kind == "duplicate"
    labels = {"source": "notify_stream", "outcome": "rejected", "reason": reason}
    assert metrics.registry.get_sample_value("streamworkers_messages_total", labels) == 1.0
    assert notified(connection) == []
    NotificationInbox(pool, lambda: None).run_once()
    rows = connection.execute("SELECT type, data ->> 'reason' FROM notifications").fetchall()
    assert rows == [("message_rejected", reason)]


def test_the_stream_is_read_to_its_end_with_what_a_dead_replica_had_read(
    acceptor: MessagesToNotifications, connection: Connection, messages: Messages, metrics: SchedulerMetrics
) -> None:
    stream, group = NOTIFICATIONS.stream, NOTIFICATIONS.group
    messages._client.xadd(stream, {"message": request(message="left", message_id="a")})
    assert len(messages.read_inbox(stream, group, "dead", 10)) == 1
    for raw in (request(message="b", message_id="b"), b"{", request(message="b", message_id="b")):
        messages._client.xadd(stream, {"message": raw})
    listener = StreamListener(messages, acceptor, metrics, "one", NOTIFICATIONS)
    assert listener.read_once() == 3
    (pending,) = messages._client.xpending_range(stream, group, "-", "+", 10)
    messages._client.execute_command(  # type: ignore[no-untyped-call]
        *("XCLAIM", stream, group, "dead", 0, pending["message_id"], "IDLE", RECLAIM_IDLE_MS)
    )
    assert listener.read_once() == 1
    assert [row[3] for row in notified(connection)] == ["b", "left"]
    assert messages._client.xlen(stream) == 0


def test_an_entry_stays_until_postgresql_has_its_notification(
    acceptor: MessagesToNotifications, messages: Messages, metrics: SchedulerMetrics
) -> None:
    messages._client.xadd(NOTIFICATIONS.stream, {"message": request(message_id="a")})
    acceptor.pool.close()
    with pytest.raises(Exception, match="closed"):
        StreamListener(messages, acceptor, metrics, "one", NOTIFICATIONS).read_once()
    assert messages._client.xlen(NOTIFICATIONS.stream) == 1


def test_the_channel_and_the_stream_are_listened_to(
    acceptor: MessagesToNotifications, connection: Connection, messages: Messages, metrics: SchedulerMetrics
) -> None:
    listeners = (
        ChannelListener(messages, acceptor, metrics, NOTIFICATIONS),
        StreamListener(messages, acceptor, metrics, "one", NOTIFICATIONS),
    )

    def connections(source: str) -> float:
        labels = {"source": source}
        return metrics.registry.get_sample_value("streamworkers_listener_connections_total", labels) or 0.0

    for listener in listeners:
        listener.start()
    try:
        wait_until(lambda: connections("notify_pubsub") == connections("notify_stream") == 1.0, 10)
        messages.publish(NOTIFICATIONS.channel, request(message="published", message_id="1").decode())
        messages._client.xadd(NOTIFICATIONS.stream, {"message": request(message="added", message_id="2")})
        wait_until(lambda: [row[3] for row in notified(connection)] == ["added", "published"], 10)
    finally:
        for listener in listeners:
            listener.stop()
        for listener in listeners:
            listener.join(patient(10))
