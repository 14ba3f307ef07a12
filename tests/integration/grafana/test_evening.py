"""What the board Tonight says about an evening: on time, slow, late, stuck, over, or nothing yet."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from psycopg.rows import dict_row

from grafana.boards import tonight
from grafana_macros import Range, expand_sql
from streamworkers.database import Connection
from streamworkers.migrations import create_roles

NEW_YORK = ZoneInfo("America/New_York")
DAY = datetime(2026, 3, 4, tzinfo=NEW_YORK)
DEADLINE = time(19, 0)


def clock(hour: int, minute: int = 0, second: int = 0, *, day: int = 0) -> datetime:
    """A time of that Wednesday evening in New York, or of `day` days later."""
    return (DAY + timedelta(days=day)).replace(hour=hour, minute=minute, second=second)


@dataclass(frozen=True)
class Evening:
    """An installation whose evenings are written down row by row."""

    connection: Connection

    def schedule(self, name: str, job: str = "indicators", *, after: str | None = None, next_tick: Any = None) -> int:
        row = self.connection.execute(
            "INSERT INTO schedules (name, job, target, timeframe, cron, next_run_at, after)"
            " VALUES (%s, %s, '{\"universe\": \"mine\"}', 'day', '10 18 * * 1-5', %s, %s) RETURNING id",
            (name, job, next_tick or clock(18, 10, day=1), after),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def tick(self, schedule: int, due: datetime, state: str = "started", run: int | None = None) -> None:
        self.connection.execute(
            "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason, run_id)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (schedule, due, due.date(), state, None if state in {"started", "waiting"} else "too late", run),
        )

    def run(
        self,
        schedule: int | None,
        due: datetime,
        *,
        closed: int,
        every: float,
        failed: int = 0,
        items: int = 516,
        queue: str = "analysis",
        ended: str | None = None,
    ) -> int:
        """A run that starts when it is due and closes an item `every` so many seconds, `closed` of them."""
        last = due + timedelta(seconds=every * closed)
        counts = (closed - failed, failed, 0, last) if ended else (None, None, None, None)
        self.connection.execute("SELECT ensure_run_items_partition(%s)", (due.astimezone(UTC).date(),))
        row = self.connection.execute(
            "INSERT INTO runs (job, queue, status, target, timeframe, item_count, max_attempts, run_day, created_at,"
            " started_at, completed_count, failed_count, cancelled_count, completed_at, schedule_id, scheduled_for)"
            " VALUES ('indicators', %s, %s, 'mine', 'day', %s, 3, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (
                *(queue, ended or "RUNNING", items, due.astimezone(UTC).date(), due, due),
                *(*counts, schedule, due if schedule else None),
            ),
        ).fetchone()
        assert row is not None
        run = int(row[0])
        self.connection.execute(
            "INSERT INTO run_items (run_day, run_id, seq, symbol, status, finished_at)"
            " SELECT %s, %s, n, 'S' || n,"
            "        CASE WHEN n > %s THEN 'pending' WHEN n <= %s THEN 'failed' ELSE 'completed' END,"
            "        CASE WHEN n <= %s THEN %s::timestamptz + n * %s * interval '1 second' END"
            " FROM generate_series(1, %s) n",
            (due.astimezone(UTC).date(), run, closed, failed, closed, due, every, items),
        )
        if schedule is not None:
            self.tick(schedule, due, "started", run)
        return run

    def nights_before(self, schedule: int, due: datetime, every: float = 1.25) -> None:
        for day in (-1, -2, -5):
            self.run(schedule, due + timedelta(days=day), closed=516, every=every, ended="COMPLETED")

    def tile(self, at: datetime) -> str:
        """The sentence at the top of the board, as Grafana asks for it at a moment."""
        panel = next(panel for panel in tonight.board().model()["panels"] if panel["id"] == 17)
        text = expand_sql(panel["targets"][0]["rawSql"], {"deadline": "19:00"}, Range(at - timedelta(hours=3), at))
        row = self.connection.execute(text.encode()).fetchone()
        assert row is not None
        return str(row[0])

    def workers_are_seen(self, at: datetime) -> None:
        self.connection.execute(
            "INSERT INTO processes (id, kind, host, pid, version, seen_at) VALUES ('a', 'supervisor', 'a', 1, '1', %s)"
            " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
            (at,),
        )

    def bars(self) -> None:
        self.connection.execute("INSERT INTO ohlcv_daily VALUES ('A', '2026-03-03', 1, 1, 1, 1, 1)")

    def says(self, at: datetime, name: str = "nightly") -> tuple[int, str, str]:
        """How urgent, which state, and what it says, of one schedule or job."""
        found = self.connection.cursor(row_factory=dict_row).execute(
            "SELECT act, state, verdict FROM evening(%s, %s) WHERE name = %s", (at, DEADLINE, name)
        )
        row = found.fetchone()
        assert row is not None
        return row["act"], row["state"], row["verdict"]


@pytest.fixture
def evening(connection: Connection) -> Evening:
    return Evening(connection)


def test_before_the_first_run_there_is_nothing_yet(evening: Evening) -> None:
    evening.schedule("nightly", next_tick=clock(18, 10))
    assert evening.says(clock(17)) == (-1, "nothing yet", "nothing yet: first run Wed 18:10")


def test_a_run_that_keeps_the_pace_of_the_nights_before_is_on_time(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    evening.nights_before(nightly, clock(18, 10))
    evening.run(nightly, clock(18, 10), closed=309, every=1.3)
    act, state, verdict = evening.says(clock(18, 16, 42))
    assert (act, state) == (1, "on time")
    assert verdict == "309 of 516, done about 18:21, usually 18:20, deadline 19:00"


def test_the_past_is_shown_as_it_was(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    evening.nights_before(nightly, clock(18, 10))
    evening.run(nightly, clock(18, 10), closed=516, every=1.25, ended="COMPLETED")
    assert evening.says(clock(18, 15))[1:] == ("on time", "240 of 516, done about 18:20, usually 18:20, deadline 19:00")
    assert evening.says(clock(18, 30)) == (0, "done", "516 of 516, done 18:20, usually 18:20")
    assert evening.says(clock(7, day=1))[2].startswith("516 of 516, done Wed 18:20")


def test_a_slow_run_that_meets_the_deadline_is_worth_a_look(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    evening.nights_before(nightly, clock(18, 10))
    evening.run(nightly, clock(18, 10), closed=100, every=4)
    assert evening.says(clock(18, 16, 40))[:2] == (2, "slow")


def test_a_run_that_will_miss_the_deadline_is_late(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    evening.nights_before(nightly, clock(18, 10))
    evening.run(nightly, clock(18, 10), closed=100, every=12)
    act, state, verdict = evening.says(clock(18, 30))
    assert (act, state) == (3, "late")
    assert verdict == "100 of 516, done about 19:53, usually 18:20, deadline 19:00"


def test_a_run_that_closes_nothing_is_stuck(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    evening.nights_before(nightly, clock(18, 10))
    evening.run(nightly, clock(18, 10), closed=309, every=1)
    assert evening.says(clock(18, 17))[1] == "on time"
    act, state, verdict = evening.says(clock(18, 27))
    assert (act, state) == (3, "stuck")
    assert verdict == "309 of 516, nothing closed for 12 min, usually 18:20, deadline 19:00"


def test_a_run_of_one_long_item_is_not_stuck(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    for day in (-1, -2):
        due = clock(18, 10, day=day)
        evening.run(nightly, due, closed=1, every=1200, items=1, ended="COMPLETED")
    evening.run(nightly, clock(18, 10), closed=0, every=1, items=1)
    assert evening.says(clock(18, 25))[1:] == ("on time", "0 of 1, done about 18:30, usually 18:30, deadline 19:00")


@pytest.mark.parametrize(
    ("failed", "ended", "expected"),
    [
        (0, "COMPLETED", (0, "done", "516 of 516, done 18:20")),
        (3, "COMPLETED_WITH_ERRORS", (2, "with errors", "513 of 516, 3 failed, done 18:20")),
        (60, "COMPLETED_WITH_ERRORS", (3, "incomplete", "456 of 516, 60 failed, ended 18:20")),
        (516, "FAILED", (3, "incomplete", "0 of 516, 516 failed, ended 18:20")),
        (0, "CANCELLED", (2, "cancelled", "516 of 516, cancelled 18:20")),
    ],
)
def test_a_run_that_has_ended_is_judged_by_its_items(
    evening: Evening, failed: int, ended: str, expected: tuple[int, str, str]
) -> None:
    nightly = evening.schedule("nightly")
    evening.run(nightly, clock(18, 10), closed=516, every=1.25, failed=failed, ended=ended)
    assert evening.says(clock(18, 30)) == expected


def test_a_run_that_missed_the_deadline_is_worth_a_look_when_it_is_done(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    evening.run(nightly, clock(18, 10), closed=516, every=7, ended="COMPLETED")
    expected = (2, "done late", "516 of 516, done 19:10, deadline 19:00")
    assert evening.says(clock(19, 30)) == expected


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (1.3, (1, "waiting", "waits for nightly, done about 18:31, usually 18:30, deadline 19:00")),
        (6, (3, "late", "waits for nightly, done about 19:12, usually 18:30, deadline 19:00")),
    ],
)
def test_what_comes_after_another_is_done_after_it(
    evening: Evening, every: float, expected: tuple[int, str, str]
) -> None:
    first = evening.schedule("nightly")
    second = evening.schedule("patterns", "patterns", after="nightly")
    evening.nights_before(first, clock(18, 10))
    evening.nights_before(second, clock(18, 20))
    evening.run(first, clock(18, 10), closed=500, every=every)
    evening.tick(second, clock(18, 20), "waiting")
    assert evening.says(clock(18, 20, 30), "patterns") == expected


def test_a_schedule_whose_tick_is_not_decided_is_overdue(evening: Evening) -> None:
    evening.schedule("nightly", next_tick=clock(18, 10))
    act, state, verdict = evening.says(clock(18, 12))
    assert (act, state) == (3, "overdue")
    assert verdict == "due 18:10, not decided: is a scheduler running?"


@pytest.mark.parametrize(("state", "act"), [("missed", 3), ("rejected", 3), ("skipped", 2)])
def test_a_tick_without_a_run_says_why(evening: Evening, state: str, act: int) -> None:
    nightly = evening.schedule("nightly")
    evening.nights_before(nightly, clock(18, 10))
    evening.tick(nightly, clock(18, 10), state)
    assert evening.says(clock(18, 30)) == (act, state, f"tick of 18:10 {state}: too late")


def test_before_an_evening_begins_it_says_when(evening: Evening) -> None:
    nightly = evening.schedule("nightly", next_tick=clock(18, 10))
    evening.nights_before(nightly, clock(18, 10))
    assert evening.says(clock(17)) == (-1, "due", "due 18:10, usually 18:20, deadline 19:00")
    assert evening.says(clock(9))[1] == "done"


def test_a_paused_schedule_is_worth_a_look(evening: Evening) -> None:
    evening.schedule("nightly")
    evening.connection.execute("UPDATE schedules SET enabled = false")
    assert evening.says(clock(18)) == (2, "paused", "paused: streamworkers schedules resume nightly")


def test_runs_without_a_schedule_count_and_housekeeping_does_not(evening: Evening) -> None:
    evening.run(None, clock(17), closed=516, every=1, ended="COMPLETED")
    evening.run(None, clock(17), closed=1, every=1, items=1, ended="COMPLETED")
    health = evening.schedule("hourly", "health_check")
    evening.run(health, clock(18), closed=3, every=1, items=3, queue="maintenance", ended="COMPLETED")
    found = evening.connection.execute("SELECT name, state FROM evening(%s, %s)", (clock(18, 30), DEADLINE)).fetchall()
    assert found == [("indicators", "done")]


def test_the_runs_of_a_backfill_are_none_of_the_evening(evening: Evening) -> None:
    filled = evening.run(None, clock(17), closed=10, every=1)
    assert evening.connection.execute("SELECT count(*) FROM evening(%s, %s)", (clock(18), DEADLINE)).fetchone() == (1,)
    evening.connection.execute("UPDATE runs SET scheduled_for = '2020-03-02T23:10Z' WHERE id = %s", (filled,))
    assert evening.connection.execute("SELECT count(*) FROM evening(%s, %s)", (clock(18), DEADLINE)).fetchone() == (0,)


def test_a_schedule_that_has_ended_leaves_the_evening_a_day_after_its_last_tick(evening: Evening) -> None:
    once, ended, goes_on = (evening.schedule(name) for name in ("once", "ended", "goes_on"))
    execute = evening.connection.execute
    for schedule in (once, ended, goes_on):
        evening.run(schedule, clock(17), closed=516, every=1, ended="COMPLETED")
    execute("UPDATE schedules SET cron = 'at 2026-03-04T17:00' WHERE id = %s", (once,))
    execute("UPDATE schedules SET ends_at = %s WHERE id = %s", (clock(17, 30), ended))
    execute("UPDATE schedules SET next_run_at = NULL WHERE id <> %s", (goes_on,))
    execute("UPDATE schedules SET next_run_at = %s WHERE id = %s", (clock(17, day=9), goes_on))

    def shown(at: datetime) -> list[str]:
        return sorted(name for (name,) in execute("SELECT name FROM evening(%s, %s)", (at, DEADLINE)))

    assert shown(clock(18)) == ["ended", "goes_on", "once"]
    assert shown(clock(18, day=1)) == ["goes_on"]


def test_the_tile_leads_a_newcomer_step_by_step(evening: Evening) -> None:
    at = clock(17)
    assert evening.tile(at) == "Nothing yet: streamworkers schedules install-defaults"
    nightly = evening.schedule("nightly", next_tick=clock(18, 10))
    assert evening.tile(at) == "Nothing yet: streamworkers load"
    evening.bars()
    assert evening.tile(at) == "Nothing yet: streamworkers worker"
    evening.workers_are_seen(at)
    assert evening.tile(at) == "Nothing yet tonight"
    evening.nights_before(nightly, clock(18, 10))
    assert evening.tile(at) == "Nothing yet tonight, usually done 18:20"
    evening.run(None, clock(16, 30), closed=516, every=1, ended="COMPLETED")
    assert evening.tile(at) == "So far well, usually done 18:20"


@pytest.mark.parametrize(
    ("closed", "every", "failed", "ended", "expected"),
    [
        (309, 1.3, 0, None, "On time, done about 18:21"),
        (100, 4, 0, None, "Slow: nightly"),
        (60, 12, 0, None, "Late: nightly, all done about 19:54"),
        (309, 0.3, 0, None, "Stuck: nightly"),
        (516, 0.5, 3, "COMPLETED_WITH_ERRORS", "Done 18:14, 3 failed"),
        (516, 0.5, 99, "COMPLETED_WITH_ERRORS", "Incomplete: nightly"),
        (516, 0.5, 0, "COMPLETED", "All well, done 18:14"),
    ],
)
def test_the_tile_is_the_evening_in_one_sentence(
    evening: Evening, closed: int, every: float, failed: int, ended: str | None, expected: str
) -> None:
    at = clock(18, 10) + timedelta(seconds=closed * every + (300 if "Stuck" in expected else 10))
    nightly = evening.schedule("nightly")
    evening.nights_before(nightly, clock(18, 10))
    evening.run(nightly, clock(18, 10), closed=closed, every=every, failed=failed, ended=ended)
    assert evening.tile(at) == "No worker: start one"
    evening.workers_are_seen(at)
    assert evening.tile(at) == expected


def test_the_tile_names_a_provider_that_keeps_a_run_waiting(evening: Evening) -> None:
    evening.run(None, clock(17), closed=46, every=1)
    at = clock(17, 30)
    evening.workers_are_seen(at)
    assert evening.tile(at) == "Stuck: indicators"
    evening.connection.execute(
        "INSERT INTO provider_outages (provider, since, ended_at, next_probe_at, error) VALUES"
        " ('massive', %s, %s, %s, 'HTTP 503')",
        (clock(17, 5), clock(18), at),
    )
    assert evening.tile(at) == "Provider away: massive since 17:05"
    evening.workers_are_seen(clock(18, 1))
    assert evening.tile(clock(18, 1)) == "Stuck: indicators"


def test_in_the_morning_the_tile_names_the_day(evening: Evening) -> None:
    nightly = evening.schedule("nightly")
    evening.run(nightly, clock(18, 10), closed=516, every=1.25, ended="COMPLETED")
    evening.workers_are_seen(clock(7, day=1))
    assert evening.tile(clock(7, day=1)) == "All well, done Wed 18:20"


def test_the_read_only_role_may_ask(evening: Evening) -> None:
    create_roles(evening.connection)
    evening.connection.execute("SET ROLE streamworkers_readonly")
    assert evening.connection.execute("SELECT * FROM evening(now(), '19:00')").fetchall() == []
