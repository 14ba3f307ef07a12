"""The tables `backfills` and `backfill_ticks`: what was asked for, and the outcome of each tick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.engine.redis.lanes import Priority
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.schedules.backfills.period import Period
from streamworkers.schedules.timing import Tick

BACKFILL_PRIORITY: Priority = "low"  # they let the runs of today go first
STATES = ("waiting", "started", "completed", "failed", "skipped", "cancelled")
_SELECT = """
    SELECT id, subject, schedule_id, schedule, request, first_day, last_day, parallel, again, requested_by, created_at,
        cancelled_at, ended_at
    FROM backfills
"""
_INSERT = """
    INSERT INTO backfills (subject, schedule_id, schedule, request, first_day, last_day, parallel, again, requested_by)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
"""
_INSERT_TICKS = """
    INSERT INTO backfill_ticks (backfill_id, subject, scheduled_for, session, state, reason)
    SELECT %s, %s, t.moment, t.session, CASE WHEN t.reason IS NULL THEN 'waiting' ELSE 'skipped' END, t.reason
    FROM unnest(%s::timestamptz[], %s::date[], %s::text[]) AS t (moment, session, reason) ORDER BY t.moment
    ON CONFLICT DO NOTHING
"""
_COUNT = "SELECT backfill_id, state, count(*) FROM backfill_ticks WHERE backfill_id = ANY(%s) GROUP BY 1, 2"
_TAKEN = """
    SELECT backfill_id, count(*) FROM backfill_ticks
    WHERE subject = %s AND scheduled_for = ANY(%s) AND state IN ('waiting', 'started') GROUP BY 1 ORDER BY 1
"""
_TICKS = """
    SELECT b.scheduled_for, b.session, b.state, b.reason, b.run_id, r.status, b.changed_at
    FROM backfill_ticks b LEFT JOIN runs r ON r.id = b.run_id
    WHERE b.backfill_id = %s AND b.state = ANY(%s) ORDER BY b.scheduled_for LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a backfill is about: a schedule or, without one, a job; `request` is what `submit_runs` takes."""

    key: str
    request: Mapping[str, Any]
    schedule_id: int | None = None
    schedule: str | None = None

    @property
    def name(self) -> str:
        """The schedule, or the job of a backfill without one."""
        return self.schedule or str(self.request["job"])


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """How a backfill is done: how many runs at once, whether also ticks with a successful run, and the priority."""

    parallel: int
    again: bool
    requested_by: str
    priority: Priority = BACKFILL_PRIORITY


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill as it is stored, without its ticks."""

    id: int
    subject: str
    schedule_id: int | None
    schedule: str | None
    request: dict[str, Any]
    first_day: date
    last_day: date
    parallel: int
    again: bool
    requested_by: str
    created_at: datetime
    cancelled_at: datetime | None
    ended_at: datetime | None

    @property
    def state(self) -> str:
        """`running`, `ended` or `cancelled`; the open runs of one that was cancelled go on."""
        if self.cancelled_at is not None:
            return "cancelled"
        return "running" if self.ended_at is None else "ended"


@dataclass(frozen=True, slots=True)
class AddedBackfill:
    """A new backfill, None if no tick waits for one; and the open backfills that have some of its ticks already."""

    id: int | None
    counts: dict[str, int]
    elsewhere: dict[int, int]


def add_backfill(
    connection: Connection,
    subject: Subject,
    period: Period,
    ticks: Sequence[tuple[Tick, str | None]],
    options: BackfillOptions,
    actor: Actor,
) -> AddedBackfill:
    """Store a backfill of ticks, each with the reason why it is skipped, or None.

    A tick that is open in another backfill of the subject is left to that one. Nothing is stored if no tick waits.
    """
    moments = [tick.moment for tick, _ in ticks]
    request = Jsonb({**subject.request, "priority": options.priority})
    row = (subject.key, subject.schedule_id, subject.schedule, request, period.first, period.last)
    with connection.transaction():
        added: int = fetch_value(connection, _INSERT, (*row, options.parallel, options.again, options.requested_by))
        reasons = [reason for _, reason in ticks]
        connection.execute(_INSERT_TICKS, (added, subject.key, moments, [tick.session for tick, _ in ticks], reasons))
        counts = count_ticks(connection, [added]).get(added, {})
        taken: dict[int, int] = dict(connection.execute(_TAKEN, (subject.key, moments)).fetchall())
        if not taken.pop(added, 0):
            connection.execute("DELETE FROM backfills WHERE id = %s", (added,))
            return AddedBackfill(None, counts, taken)
        after = {"backfill": added, "from": str(period.first), "to": str(period.last), **counts}
        record_change(connection, actor, AuditChange("backfill.create", "backfill", subject.name, after=after))
    return AddedBackfill(added, counts, taken)


def cancel_backfill(connection: Connection, backfill_id: int, actor: Actor) -> int:
    """Cancel the ticks that wait; runs that are open go on. Returns their number.

    Raises UnknownNameError, and BadInputError if the backfill has ended.
    """
    with connection.transaction():
        backfill = require_backfill(connection, backfill_id, lock=True)
        if backfill.ended_at is not None or backfill.cancelled_at is not None:
            raise BadInputError(f"backfill {backfill_id} is {backfill.state}: there is nothing to cancel")
        count = connection.execute(
            "UPDATE backfill_ticks SET state = 'cancelled', changed_at = clock_timestamp()"
            " WHERE backfill_id = %s AND state = 'waiting'",
            (backfill_id,),
        ).rowcount
        connection.execute("UPDATE backfills SET cancelled_at = clock_timestamp() WHERE id = %s", (backfill_id,))
        change = AuditChange("backfill.cancel", "backfill", str(backfill_id), after={"ticks": count})
        record_change(connection, actor, change)
    return count


def find_backfill(connection: Connection, backfill_id: int, *, lock: bool = False) -> Backfill | None:
    """The backfill of that id, None if there is none."""
    statement = f"{_SELECT} WHERE id = %s {'FOR UPDATE' if lock else ''}"
    return connection.cursor(row_factory=class_row(Backfill)).execute(statement.encode(), (backfill_id,)).fetchone()


def require_backfill(connection: Connection, backfill_id: int, *, lock: bool = False) -> Backfill:
    """The backfill of that id. Raises UnknownNameError."""
    found = find_backfill(connection, backfill_id, lock=lock)
    if found is None:
        known = connection.execute("SELECT id FROM backfills ORDER BY id DESC LIMIT 20")
        raise UnknownNameError("backfill", str(backfill_id), (str(number) for (number,) in known))
    return found


def list_backfills(connection: Connection, limit: int) -> list[Backfill]:
    """The newest backfills, newest first."""
    cursor = connection.cursor(row_factory=class_row(Backfill))
    return cursor.execute(f"{_SELECT} ORDER BY id DESC LIMIT %s".encode(), (limit,)).fetchall()


def count_ticks(connection: Connection, backfill_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """The number of ticks of backfills by state; states without any are left out."""
    found: dict[int, dict[str, int]] = {}
    for backfill_id, state, count in connection.execute(_COUNT, (list(backfill_ids),)):
        found.setdefault(backfill_id, {})[state] = count
    return found


def read_ticks(
    connection: Connection, backfill_id: int, limit: int, states: Sequence[str] = STATES
) -> list[dict[str, Any]]:
    """The ticks of a backfill in these states, in order, each with its run."""
    return fetch_rows(connection, _TICKS, (backfill_id, list(states), limit))
