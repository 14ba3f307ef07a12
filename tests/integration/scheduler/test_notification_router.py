"""Notifications become deliveries exactly once, and digests grow until they are claimed."""

from collections.abc import Callable
from datetime import time, timedelta
from typing import Any

import pytest
from psycopg_pool import ConnectionPool

from scheduler.notification_inbox import NotificationInbox
from scheduler.notification_router import NotificationRouter
from streamworkers import notify
from streamworkers.actor import LOCAL
from streamworkers.config import Settings
from streamworkers.database import Connection, connect, fetch_value
from streamworkers.notifications.channels.channel import Address
from streamworkers.notifications.preferences import Preference
from streamworkers.notifications.store.endpoints import Endpoint, add_endpoint, switch_endpoint_off
from streamworkers.notifications.store.preferences import set_preference
from streamworkers.notifications.store.routing import count_unrouted, take_unrouted

Send = Callable[..., None]
SELECT = """
SELECT d.channel, d.state, d.reason, d.is_digest, d.type, d.priority, count(l.notification_id)
FROM deliveries d LEFT JOIN delivery_notifications l ON l.delivery_id = d.id
GROUP BY d.id ORDER BY min(d.not_before), 1, 7"""


@pytest.fixture
def inbox(pool: "ConnectionPool[Connection]") -> NotificationInbox:
    return NotificationInbox(pool, lambda: None)


@pytest.fixture
def router(pool: "ConnectionPool[Connection]", settings: Settings) -> NotificationRouter:
    return NotificationRouter(pool, settings)


@pytest.fixture
def mail(connection: Connection) -> Endpoint:
    return add_endpoint(connection, LOCAL, "mail", Address("me@example.org", {}))


@pytest.fixture
def send(connection: Connection, inbox: NotificationInbox, router: NotificationRouter) -> Send:
    """Notify, and route."""

    def sent(*keys: str, **members: Any) -> None:
        for key in keys:
            notify(connection, "local", f"text of {key}", dedup_key=key, **members)
        while inbox.run_once() == 0.0:
            continue
        while router.run_once() == 0.0:
            continue

    return sent


def deliveries(connection: Connection) -> list[tuple[Any, ...]]:
    """What is to be sent, with the number of notifications."""
    return connection.execute(SELECT).fetchall()


def test_who_admits_is_woken_by_what_was_routed(
    connection: Connection, pool: "ConnectionPool[Connection]", settings: Settings
) -> None:
    woken: list[bool] = []
    router = NotificationRouter(pool, settings, on_routed=lambda: woken.append(True))
    router.run_once()
    assert woken == []
    connection.execute(
        "INSERT INTO notifications (id, user_id, type, dedup_key, priority, data)"
        " VALUES (gen_random_uuid(), 'local', 'message', 'k', 'high', '{}')"
    )
    router.run_once()
    assert woken == [True]


def test_a_notification_is_queued_at_each_endpoint_once(connection: Connection, send: Send, mail: Endpoint) -> None:
    add_endpoint(connection, LOCAL, "telegram", Address("17", {}))
    send("a", priority="high")
    send()
    assert deliveries(connection) == [
        ("mail", "queued", None, False, "message", "high", 1),
        ("telegram", "queued", None, False, "message", "high", 1),
    ]
    due = fetch_value(connection, "SELECT bool_and(not_before <= clock_timestamp()) FROM deliveries")
    assert (due, count_unrouted(connection, 0)) == (True, 0)
    assert mail.is_usable


def test_a_user_without_an_endpoint_has_a_delivery_with_its_reason(
    connection: Connection, send: Send, router: NotificationRouter
) -> None:
    send("a")
    assert deliveries(connection) == [("", "suppressed", "no endpoint", False, "message", "normal", 1)]
    assert router.run_once() is None


def test_fifty_seven_alerts_of_two_steps_are_one_message(connection: Connection, send: Send, mail: Endpoint) -> None:
    del mail
    set_preference(connection, LOCAL, Preference("alert_fired", "mail", "digest", 30))
    send(*(str(n) for n in range(30)), type="alert_fired")
    first = fetch_value(connection, "SELECT not_before FROM deliveries")
    send(*(str(n) for n in range(30, 57)), type="alert_fired", priority="high")
    assert deliveries(connection) == [("mail", "deferred", None, True, "digest", "high", 57)]
    assert fetch_value(connection, "SELECT not_before FROM deliveries") == first


@pytest.mark.parametrize(
    "change",
    ["claim = gen_random_uuid(), state = 'sending'", "content = '{}'", "attempts = 1", "state = 'sent'"],
)
def test_a_digest_that_was_claimed_does_not_grow(
    connection: Connection, send: Send, mail: Endpoint, change: str
) -> None:
    """Its text is made already, so that what comes now would be lost in it."""
    del mail
    set_preference(connection, LOCAL, Preference("*", "*", "digest"))
    send("a")
    connection.execute(f"UPDATE deliveries SET {change}")
    send("b")
    assert [row[-1] for row in deliveries(connection)] == [1, 1]


def test_a_digest_that_is_being_claimed_is_not_waited_for(
    connection: Connection, database_url: str, send: Send, mail: Endpoint
) -> None:
    del mail
    set_preference(connection, LOCAL, Preference("*", "*", "digest"))
    send("a")
    with connect(database_url, application="test-claim") as worker, worker.transaction():
        worker.execute("UPDATE deliveries SET claim = gen_random_uuid()")
        send("b")
    assert [row[-1] for row in deliveries(connection)] == [1, 1]


def test_a_storm_is_broken_by_one_digest(
    connection: Connection, send: Send, mail: Endpoint, settings: Settings
) -> None:
    """Fifty go out, the rest is one message at the end of the window; other types are not held."""
    del mail
    count = settings.storm_count
    send(*(str(n) for n in range(count + 7)), type="alert_fired")
    send("late", type="alert_fired")
    send("other", type="run_failed")
    rows = deliveries(connection)
    assert [row for row in rows if row[3]] == [("mail", "deferred", None, True, "digest", "normal", 8)]
    assert len(rows) == count + 2
    wait = fetch_value(connection, "SELECT max(not_before) - now() FROM deliveries")
    assert timedelta(0) < wait <= timedelta(minutes=settings.storm_minutes)


def test_a_group_is_one_message_for_those_who_come_together(connection: Connection, send: Send, mail: Endpoint) -> None:
    del mail
    send("a", "b", "c", group_key="desk")
    send("d", group_key="desk")
    send("e", group_key="other")
    assert sorted(row[-1] for row in deliveries(connection)) == [1, 4]


def test_a_digest_at_a_local_time_waits_for_it(connection: Connection, send: Send, mail: Endpoint) -> None:
    """An hourly digest that comes earlier does not take what waits for its time."""
    del mail
    now = fetch_value(connection, "SELECT clock_timestamp()")
    later = time((now.hour + 12) % 24, now.minute)
    set_preference(connection, LOCAL, Preference("run_failed", "*", "digest", digest_at=later, zone="UTC"))
    set_preference(connection, LOCAL, Preference("message", "*", "digest", 1))
    send("a")
    send("b", "c", type="run_failed")
    send("d")
    assert sorted(row[-1] for row in deliveries(connection)) == [2, 2]
    at = fetch_value(connection, "SELECT max(not_before) FROM deliveries")
    assert (at.hour, at.minute, at > now) == (later.hour, later.minute, True)


def test_a_step_that_dies_is_done_again_and_doubles_nothing(
    connection: Connection, database_url: str, send: Send, router: NotificationRouter, mail: Endpoint
) -> None:
    """Its session is killed with the notification in hand; another router meanwhile passes it by."""
    del mail
    with connect(database_url, application="test-dying") as dying:
        send("a")
        connection.execute("DELETE FROM deliveries")
        connection.execute("UPDATE notifications SET routed_at = NULL")
        dying.execute("BEGIN")
        assert len(take_unrouted(dying, 10)) == 1
        assert router.run_once() is None
        assert deliveries(connection) == []
        connection.execute("SELECT pg_terminate_backend(%s)", (dying.info.backend_pid,))
        dying.close()
    while count_unrouted(connection, 0):
        router.run_once()
    router.run_once()
    assert [row[-1] for row in deliveries(connection)] == [1]


def test_what_is_off_is_not_reached(connection: Connection, send: Send, mail: Endpoint) -> None:
    switch_endpoint_off(connection, LOCAL, mail.name)
    send("a")
    assert [row[:3] for row in deliveries(connection)] == [("", "suppressed", "no endpoint that is verified and on")]
