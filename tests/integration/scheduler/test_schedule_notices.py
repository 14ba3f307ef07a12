"""People are notified of ticks without a run and of late runs: once, in the transaction that decides it."""

from typing import Any

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from scheduler.late_runs import LateRuns
from scheduler.ticker import Ticker
from scheduling import Add, Clock, runs_of
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger import load_run, reopen_items
from streamworkers.engine.ledger.outbox import take_notify_events
from streamworkers.notifications.notification import Notification, parse_notification
from streamworkers.notifications.wording import write_content, write_digest


def noticed(connection: Connection) -> list[Notification]:
    """What people are notified of since the last call, by user and key."""
    found = [parse_notification(*event) for event in take_notify_events(connection, 1000)]
    return sorted(found, key=lambda each: (each.user_id, each.dedup_key))


def open_late(connection: Connection, ticker: Ticker, add: Add, clock: Clock, *names: str) -> None:
    """Let schedules start runs, which are open three hours after their ticks by PostgreSQL's clock."""
    for name in names:
        add(name)
    clock.forward(hours=1)
    ticker.run_once()
    connection.execute("UPDATE runs SET scheduled_for = clock_timestamp() - interval '3 hours'")


def test_ticks_that_came_too_late_are_one_notification_and_the_run_that_makes_up_for_them_another(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock
) -> None:
    schedule = add("nightly", misfire_grace_seconds=60)
    clock.forward(hours=5, minutes=5)
    ticker.run_once()
    late, missed = noticed(connection)
    (run,) = runs_of(connection, schedule)
    assert (missed.type, missed.user_id, missed.priority) == ("schedule_missed", "local", "high")
    assert missed.dedup_key == "schedule_missed:nightly:2040-10-01T20:00:00+00:00"
    assert write_content(missed).title == "nightly was missed"
    assert write_content(missed).lines == (
        "4 times, from 2040-10-01 13:00 EDT to 2040-10-01 16:00 EDT",
        "3,900 s late, over the grace of 60 s; caught up by the tick of 2040-10-01 21:00:00 UTC",
        "Look: streamworkers schedules history nightly",
    )
    assert (late.type, late.dedup_key) == ("run_late", f"run_late:{run}")
    assert write_content(late).title == "nightly is late"
    assert write_content(late).lines == (
        "It was due at 2040-10-01 17:00 EDT",
        "It was started 5 min after that",
        f"Look: streamworkers runs show {run}",
    )
    ticker.run_once()
    assert noticed(connection) == []


def test_a_tick_on_time_and_ticks_that_a_newer_one_replaces_are_no_news(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock
) -> None:
    schedule = add("often", cron="* * * * *")
    clock.forward(minutes=3)
    ticker.run_once()
    assert len(runs_of(connection, schedule)) == 1
    assert noticed(connection) == []


def test_a_row_of_rejected_ticks_is_one_notification_until_one_is_started_or_another_day_begins(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock
) -> None:
    add("broken", target={"universe": "nobody"})
    for _ in range(3):
        clock.forward(hours=1)
        ticker.run_once()
    (first,) = noticed(connection)
    assert write_content(first).title == "broken was rejected"
    assert "no universe is named 'nobody'" in write_content(first).lines[1]
    clock.forward(hours=12)
    ticker.run_once()
    assert {each.data["state"] for each in noticed(connection)} == {"missed", "rejected"}
    connection.execute("INSERT INTO definition_groups (name, type) VALUES ('nobody', 'UNIVERSE')")
    connection.execute("INSERT INTO group_memberships SELECT id, 'X' FROM definition_groups")
    clock.forward(hours=1)
    ticker.run_once()
    assert noticed(connection) == []
    connection.execute("UPDATE runs SET status = 'COMPLETED', completed_at = now()")
    connection.execute("DELETE FROM group_memberships")
    clock.forward(hours=1)
    ticker.run_once()
    assert len(noticed(connection)) == 1


def test_a_tick_beside_an_open_run_is_skipped_and_reported_and_a_broken_schedule_once(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock
) -> None:
    add("slow")
    clock.forward(hours=1)
    ticker.run_once()
    assert noticed(connection) == []
    clock.forward(hours=1)
    ticker.run_once()
    (skipped,) = noticed(connection)
    assert write_content(skipped).title == "slow was skipped"
    assert "max_instances is 1" in write_content(skipped).lines[1]
    connection.execute("UPDATE schedules SET cron = '61 * * * *'")
    for _ in range(3):
        clock.forward(minutes=61)
        ticker.run_once()
    (broken,) = noticed(connection)
    assert write_content(broken).title == "slow is broken"
    assert "minute '61'" in write_content(broken).lines[1]


def test_a_tick_that_waited_in_vain_is_reported_and_one_of_a_paused_schedule_is_not(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock
) -> None:
    add("first", cron="0 3 * * *")
    add("second", after="first", after_timeout_seconds=600, after_timeout_action="skip")
    add("third", after="first", after_timeout_seconds=600, after_timeout_action="skip")
    clock.forward(hours=1)
    ticker.run_once()
    connection.execute("UPDATE schedules SET enabled = false WHERE name = 'third'")
    clock.forward(minutes=11)
    ticker.run_once()
    (skipped,) = noticed(connection)
    assert write_content(skipped).title == "second was skipped"
    assert "first has had no tick in this session" in write_content(skipped).lines[1]


def test_a_run_that_has_not_ended_in_time_is_reported_once_to_the_user_of_its_schedule(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock, pool: "ConnectionPool[Connection]"
) -> None:
    connection.execute("INSERT INTO users (id) VALUES ('desk')")
    add("desks", user_id="desk")
    add("nobodys", user_id="gone")
    open_late(connection, ticker, add, clock, "ours")
    connection.execute("UPDATE runs SET status = 'RUNNING' WHERE schedule = 'ours'")
    late = LateRuns(pool, 2 * 3600)
    LateRuns(pool, 4 * 3600).run_once()
    assert noticed(connection) == []
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT FROM runs WHERE schedule = 'ours' FOR UPDATE")
        late.run_once()
    found = {each.data["schedule"]: each for each in noticed(connection)}
    assert {name: each.user_id for name, each in found.items()} == {"desks": "desk", "nobodys": "local"}
    assert "2.0 h after that no worker has begun it" in write_content(found["desks"]).lines
    late.run_once()
    (ours,) = noticed(connection)
    assert "2.0 h after that it has not ended (2 items)" in write_content(ours).lines
    late.run_once()
    assert noticed(connection) == []


def test_a_run_that_was_started_late_or_is_opened_again_is_not_late_a_second_time(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock, pool: "ConnectionPool[Connection]"
) -> None:
    schedule = add("nightly", misfire_grace_seconds=60)
    clock.forward(hours=1, minutes=30)
    ticker.run_once()
    (run_id,) = runs_of(connection, schedule)
    assert [each.type for each in noticed(connection)] == ["run_late"]
    connection.execute("UPDATE runs SET scheduled_for = clock_timestamp() - interval '3 hours'")
    LateRuns(pool, 60).run_once()
    assert noticed(connection) == []
    connection.execute("UPDATE runs SET late_at = NULL, status = 'FAILED'")
    connection.execute("UPDATE run_items SET status = 'failed'")
    run = load_run(connection, run_id)
    assert run is not None
    reopen_items(connection, run, ["failed"], None)
    assert fetch_value(connection, "SELECT status FROM runs") == "RUNNING"
    LateRuns(pool, 60).run_once()
    assert noticed(connection) == []


def test_a_run_is_not_marked_without_its_notice(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock, pool: "ConnectionPool[Connection]"
) -> None:
    open_late(connection, ticker, add, clock, "one")
    connection.execute("ALTER TABLE outbox ADD CONSTRAINT full_up CHECK (channel <> 'streamworkers:notify')")
    with pytest.raises(psycopg.errors.CheckViolation):
        LateRuns(pool, 60).run_once()
    assert fetch_value(connection, "SELECT late_at FROM runs") is None
    connection.execute("ALTER TABLE outbox DROP CONSTRAINT full_up")
    LateRuns(pool, 60).run_once()
    assert len(noticed(connection)) == 1


def test_many_late_runs_of_one_night_are_one_message(
    connection: Connection, ticker: Ticker, add: Add, clock: Clock, pool: "ConnectionPool[Connection]"
) -> None:
    open_late(connection, ticker, add, clock, "one", "two", "three")
    LateRuns(pool, 60).run_once()
    found: list[Any] = noticed(connection)
    assert {each.group_key for each in found} == {"run_late"}
    content = write_digest(found)
    assert content.title == "3 late runs"
    assert content.lines[0].startswith("• one is late: It was due at ")
