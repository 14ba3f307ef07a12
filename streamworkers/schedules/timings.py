"""The table `schedule_timings`: by which times a schedule ticked, from when to when, and how far that is decided.

A trigger writes a row whenever a schedule is added, changed, paused, resumed or removed, by this program or by SQL.
The ticks that were due until then stay due: those before a change are decided with the ticks that follow, those before
a pause or a removal are skipped.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import dict_row

from streamworkers.database import Connection
from streamworkers.errors import UnknownNameError, UsageError
from streamworkers.faults import describe, printable
from streamworkers.schedules.cursor import Cursor, TimingSpan, find_span
from streamworkers.schedules.planner import TickPlan
from streamworkers.schedules.timing import Tick, Timing

_SELECT = (
    "SELECT t.id, t.schedule_id, t.schedule, t.cron, t.timezone, t.calendar, t.ends_at, t.valid_from, t.valid_to,"
    " t.ended_by, t.decided_until, t.decided_label FROM schedule_timings t"
)
_UNDECIDED = " WHERE t.valid_to IS NOT NULL AND t.decided_at IS NULL"
_WHY_SKIPPED = {
    "change": "the schedule stopped ticking before the tick was decided",
    "pause": "the schedule was paused before the tick was decided",
    "removal": "the schedule was removed before the tick was decided",
}


class DroppedTiming(NamedTuple):
    """A timing that ended by a pause or a removal, whose last ticks are not decided; they start no run."""

    schedule_id: int
    schedule: str
    span: TimingSpan
    reason: str


def require_id(connection: Connection, name: str) -> int:
    """The number of the schedule of a name, or of the last one that had it. Raises UnknownNameError."""
    rows = connection.execute(
        "SELECT schedule, schedule_id FROM schedule_timings ORDER BY schedule, valid_to IS NULL, valid_from"
    ).fetchall()
    numbers: dict[str, int] = dict(rows)
    if name not in numbers:
        raise UnknownNameError("schedule", name, numbers)
    return numbers[name]


def lock_changed(connection: Connection, schedule_id: int) -> list[TimingSpan]:
    """The earlier timings of a locked schedule that ended by a change and have undecided ticks, locked, in order."""
    where = _UNDECIDED + " AND t.schedule_id = %s AND t.ended_by = 'change' ORDER BY t.valid_from FOR UPDATE"
    spans = [_to_span(connection, row) for row in _read(connection, where, (schedule_id,))]
    return [span for span in spans if span is not None]


def lock_dropped(connection: Connection) -> DroppedTiming | None:
    """A timing whose undecided ticks are to be skipped, locked; None if there is none."""
    return next(_read_dropped(connection, " LIMIT 1 FOR UPDATE OF t SKIP LOCKED", None), None)


def list_dropped(connection: Connection, schedule_id: int) -> list[DroppedTiming]:
    """The timings of a schedule whose undecided ticks are to be skipped."""
    return list(_read_dropped(connection, "", schedule_id))


def _read_dropped(connection: Connection, locking: str, schedule_id: int | None) -> Iterator[DroppedTiming]:
    where = (
        f" LEFT JOIN schedules s ON s.id = t.schedule_id{_UNDECIDED} AND t.schedule_id = coalesce(%s, t.schedule_id)"
        " AND (t.ended_by <> 'change' OR s.id IS NULL OR NOT s.enabled OR s.cron IS NULL)"
        f" ORDER BY t.schedule_id, t.valid_from{locking}"
    )
    for row in _read(connection, where, (schedule_id,)):
        span = _to_span(connection, row)
        if span is not None:
            yield DroppedTiming(row["schedule_id"], row["schedule"], span, _WHY_SKIPPED[row["ended_by"]])


def has_due(connection: Connection, schedule_id: int, now: datetime) -> bool:
    """Whether earlier timings of a locked schedule have undecided ticks; those that have none are decided by this."""
    spans = lock_changed(connection, schedule_id)
    empty = [span for span in spans if next(span.find_undecided(now), None) is None]
    set_decided(connection, empty, TickPlan([], None), now)
    return len(empty) < len(spans)


def set_decided(connection: Connection, spans: Sequence[TimingSpan], plan: TickPlan, now: datetime) -> None:
    """Store how far those of the spans that have ended are decided by a plan of the ticks of all."""
    for span in spans:
        if span.valid_to is None:
            continue
        cursor = span.cursor.past(span.timing, find_last(spans, span, plan))
        is_done = plan.following is None or not span.reaches(plan.following.moment)
        connection.execute(
            "UPDATE schedule_timings SET decided_until = %s, decided_label = %s, decided_at = %s WHERE id = %s",
            (cursor.until, cursor.label, now if is_done else None, span.timing_id),
        )


def find_last(spans: Sequence[TimingSpan], span: TimingSpan, plan: TickPlan) -> Tick | None:
    """The last tick of a span that a plan of the ticks of all spans decides."""
    ticks = (each.tick for each in reversed(plan.decisions))
    return next((tick for tick in ticks if find_span(spans, tick.moment) is span), None)


def _read(connection: Connection, where: str, values: tuple[object, ...]) -> list[dict[str, Any]]:
    return connection.cursor(row_factory=dict_row).execute(f"{_SELECT}{where}".encode(), values).fetchall()


def _to_span(connection: Connection, row: dict[str, Any]) -> TimingSpan | None:
    """A span from a row; None, after a note in the row, for one that has no ticks because it breaks a rule."""
    cursor = Cursor(row["valid_from"], row["decided_until"], row["decided_label"])
    try:
        span = TimingSpan(
            Timing.parse(row["cron"], row["timezone"], row["calendar"], row["ends_at"]),
            cursor,
            row["id"],
            row["valid_to"],
        )
        next(span.find_undecided(row["valid_to"]), None)
    except Exception as error:  # noqa: BLE001  # a package of calendars may raise anything, and nobody can mend the past
        problem = str(error) if isinstance(error, UsageError) else describe(error)
        connection.execute(
            "UPDATE schedule_timings SET decided_at = clock_timestamp(), problem = %s WHERE id = %s",
            (printable(problem), row["id"]),
        )
        return None
    return span
