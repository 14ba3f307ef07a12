"""Ticks that are lost are counted for the metric, until they are accounted for."""

from typing import Any

from psycopg_pool import ConnectionPool

from scheduler.tick_accountant import TickAccountant
from scheduling import Add
from streamworkers.database import Connection
from streamworkers.schedules import store
from streamworkers.schedules.reports import schedule_gauges

_PAST = "clock_timestamp() - interval '10 minutes'"


def _counted(connection: Connection) -> dict[str, int | None]:
    return {each.name: each.unaccounted for each in schedule_gauges(connection)}


def test_lost_ticks_are_counted_for_each_schedule_and_a_broken_one_stops_nothing(
    add: Add, connection: Connection, pool: "ConnectionPool[Connection]", monkeypatch: Any
) -> None:
    for name in ("lost", "sound", "unknown_times"):
        add(name, cron="* * * * *")
    connection.execute("UPDATE schedule_timings SET timezone = 'Mars/Olympus' WHERE schedule = 'unknown_times'")
    assert _counted(connection) == dict.fromkeys(("lost", "sound", "unknown_times"))
    connection.execute(f"UPDATE schedule_timings SET valid_from = {_PAST}".encode())
    connection.execute(f"UPDATE schedules SET planned_from = {_PAST}".encode())
    connection.execute("UPDATE schedules SET decided_until = clock_timestamp() WHERE name = 'lost'")
    accountant = TickAccountant(pool)
    accountant.run_once()
    found = _counted(connection)
    assert found["lost"] in (9, 10, 11)
    assert (found["sound"], found["unknown_times"]) == (0, 0)
    connection.execute("UPDATE schedules SET decided_until = NULL")  # now they are still to be decided
    accountant.run_once()
    assert set(_counted(connection).values()) == {0}
    monkeypatch.setattr("scheduler.tick_accountant._MOST_TICKS", 0)
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, timing_id) SELECT s.id, clock_timestamp(),"
        " '2026-01-01', 'started', t.id FROM schedules s JOIN schedule_timings t ON t.schedule_id = s.id"
    )
    assert store.find_schedule(connection, "lost") is not None
    accountant.run_once()
    assert set(_counted(connection).values()) == {0}  # of no tick, but the bound is behind it
