"""The table `ticks`: what was decided about each tick, and what the decisions depend on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.schedules.dependency import Awaited
from streamworkers.schedules.planner import COALESCED
from streamworkers.schedules.store import COLUMNS, PLANNED, Schedule, schedule_from_row
from streamworkers.schedules.timing import Tick

MOST_MISSING = 1000
NO_TIMING = 0  # that of a tick by hand
OTHER_SUBJECT = (
    "subject"  # in `detail`: the run is about something else than its schedule, so that nothing waits for it
)
HELD = "window"  # in `detail`: the tick waits, or has waited, for the end of a maintenance window


@dataclass(frozen=True, slots=True)
class WaitingTick:
    """A tick that waits for another schedule's run, or for one of `max_instances`."""

    schedule: Schedule
    tick: Tick
    decided_at: datetime


class Instances(NamedTuple):
    """The number of open runs of a schedule, the oldest of them, and the number of its waiting ticks."""

    open_runs: int
    oldest: int | None
    waiting: int

    @property
    def total(self) -> int:
        """Open runs and waiting ticks."""
        return self.open_runs + self.waiting

    def describe(self) -> str:
        """The oldest of them, for a reason or an error message."""
        return f"run {self.oldest} is open" if self.oldest else "an earlier tick waits"


class TickRow(NamedTuple):
    """What is decided about a tick; `timing_id` is by default that of the valid timing, and `NO_TIMING` by hand."""

    state: str
    reason: str | None = None
    tick_count: int = 1
    timing_id: int | None = None


def insert_tick(connection: Connection, schedule: Schedule, tick: Tick, row: TickRow, now: datetime) -> bool:
    """Insert the decision about a tick; False when the tick had been decided before."""
    inserted = connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason, tick_count, decided_at, timing_id)"
        " VALUES (%(id)s, %(moment)s, %(session)s, %(state)s, %(reason)s, %(tick_count)s, %(now)s,"
        "  nullif(coalesce(%(timing_id)s, (SELECT id FROM schedule_timings"
        "   WHERE schedule_id = %(id)s AND valid_to IS NULL)), 0)) ON CONFLICT DO NOTHING RETURNING 1",
        {"id": schedule.id, "moment": tick.moment, "session": tick.session, "now": now, **row._asdict()},
    ).fetchone()
    return inserted is not None


def follows_alike(connection: Connection, schedule: Schedule, tick: Tick, state: str) -> bool:
    """True if the tick before this one, of the same session, was decided in the same way, but for coalesced ones."""
    row = connection.execute(
        "SELECT state, session, reason FROM ticks WHERE schedule_id = %s AND scheduled_for < %s"
        " ORDER BY scheduled_for DESC LIMIT 1",
        (schedule.id, tick.moment),
    ).fetchone()
    return row is not None and row[:2] == (state, tick.session) and not (row[2] or "").startswith(COALESCED)


def update_tick(
    connection: Connection,
    schedule: Schedule,
    tick: Tick,
    state: str,
    *,
    reason: str | None,
    detail: dict[str, Any] | None = None,
    run_id: int | None = None,
) -> None:
    """Change the decision about a tick; `detail` None keeps the stored one."""
    connection.execute(
        "UPDATE ticks SET state = %s, reason = %s, detail = coalesce(%s, detail), run_id = %s"
        " WHERE schedule_id = %s AND scheduled_for = %s",
        (state, reason, None if detail is None else Jsonb(detail), run_id, schedule.id, tick.moment),
    )


def hold_back(connection: Connection, schedule: Schedule, tick: Tick, reason: str | None, window_id: int) -> int:
    """Let a tick wait for the end of a maintenance window; returns how many earlier ones it replaces.

    Earlier ticks that wait for a window are skipped if the policy of the schedule starts only the newest.
    """
    update_tick(connection, schedule, tick, "waiting", reason=reason, detail={HELD: window_id})
    policy = schedule.require_definition().policy
    if not policy.coalesce or policy.catch_up == "all":
        return 0
    return connection.execute(
        "UPDATE ticks SET state = 'skipped', reason = %s"
        " WHERE schedule_id = %s AND state = 'waiting' AND scheduled_for < %s AND detail ? %s",
        (f"{COALESCED} the tick of {tick.moment:%Y-%m-%d %H:%M:%S} UTC", schedule.id, tick.moment, HELD),
    ).rowcount


def lock_waiting(connection: Connection, after: tuple[datetime, int], skip: Sequence[int]) -> WaitingTick | None:
    """The next waiting tick after (moment, schedule id), locked with its schedule; None if there is none.

    Ticks of the schedules in `skip` are left out.
    """
    statement = sql.SQL(
        "SELECT {}, s.id, {}, t.scheduled_for, t.session, t.decided_at"
        " FROM ticks t JOIN schedules s ON s.id = t.schedule_id"
        " WHERE t.state = 'waiting' AND (t.scheduled_for, t.schedule_id) > (%s, %s) AND t.schedule_id <> ALL(%s)"
        " ORDER BY t.scheduled_for, t.schedule_id LIMIT 1 FOR UPDATE OF t, s SKIP LOCKED"
    ).format(COLUMNS, PLANNED)
    row = connection.cursor(row_factory=dict_row).execute(statement, (*after, list(skip))).fetchone()
    if row is None:
        return None
    return WaitingTick(schedule_from_row(row), Tick(row["scheduled_for"], row["session"]), row["decided_at"])


def count_instances(connection: Connection, schedule: Schedule, *, before: Tick | None = None) -> Instances:
    """The open runs and the waiting ticks of a schedule; with `before`, only the ticks that wait ahead of it."""
    row = connection.execute(
        "SELECT count(*), min(id) FROM runs WHERE schedule_id = %s AND status IN ('PENDING', 'RUNNING')",
        (schedule.id,),
    ).fetchone()
    waiting = connection.execute(
        "SELECT count(*) FROM ticks WHERE schedule_id = %s AND state = 'waiting'"
        " AND scheduled_for < coalesce(%s, 'infinity'::timestamptz)",
        (schedule.id, before and before.moment),
    ).fetchone()
    assert row is not None
    assert waiting is not None
    return Instances(row[0], row[1], waiting[0])


def find_awaited(connection: Connection, parent: str, session: date, moment: datetime) -> Awaited:
    """The progress of another schedule in a session.

    The newest of its ticks up to `moment` that started a run counts, and every later one, such as a run triggered by
    hand; of these, the run with the highest coverage. Ticks without a run count only if there is no run.
    """
    row = connection.execute(
        "WITH candidates AS (SELECT t.scheduled_for, t.state, t.reason, r.id, r.status, r.item_count, r.run_day,"
        "  CASE WHEN r.item_count = 0 AND r.status = 'COMPLETED' THEN 1"
        "   ELSE coalesce(r.completed_count, 0)::float8 / greatest(r.item_count, 1) END AS coverage"
        "  FROM schedules s JOIN ticks t ON t.schedule_id = s.id"
        "  LEFT JOIN runs r ON r.id = t.run_id"
        "  WHERE s.name = %(parent)s AND t.session = %(session)s AND NOT coalesce(t.detail ? %(other)s, false))"
        " SELECT state, reason, id, status, item_count, run_day FROM candidates"
        " WHERE scheduled_for >= coalesce((SELECT max(scheduled_for) FROM candidates"
        "  WHERE id IS NOT NULL AND scheduled_for <= %(moment)s), '-infinity')"
        " ORDER BY id IS NOT NULL DESC, coverage DESC, scheduled_for DESC LIMIT 1",
        {"parent": parent, "session": session, "moment": moment, "other": OTHER_SUBJECT},
    ).fetchone()
    if row is None:
        return Awaited(parent)
    state, reason, run_id, status, items, run_day = row
    if run_id is None:
        return Awaited(parent, state, reason)
    counts = connection.execute(
        "SELECT count(*) FILTER (WHERE status = 'completed'),"
        " coalesce((array_agg(symbol ORDER BY seq) FILTER (WHERE status <> 'completed'))[:%s], '{}')"
        " FROM run_items WHERE run_day = %s AND run_id = %s",
        (MOST_MISSING, run_day, run_id),
    ).fetchone()
    assert counts is not None
    return Awaited(parent, state, reason, run_id, status, items, counts[0], tuple(counts[1]))
