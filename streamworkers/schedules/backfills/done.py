"""Which ticks have a successful run, and why the others have none. Reads only."""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from streamworkers.database import Connection, fetch_rows
from streamworkers.schedules.backfills.period import Period
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.run_factory import BY_HAND
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import Tick, Timing

# The run of the tick itself, one that was triggered by hand before the next tick of its session, or that of a backfill.
_DONE = """
    WITH wanted AS (
        SELECT moment, session, coalesce(lead(moment) OVER (ORDER BY moment), 'infinity') AS following
        FROM unnest(%(moments)s::timestamptz[], %(sessions)s::date[]) AS w (moment, session)
    )
    SELECT w.moment, coalesce(own.run_id, filled.run_id)
    FROM wanted w
    LEFT JOIN LATERAL (
        SELECT min(r.id) AS run_id FROM ticks t JOIN runs r ON r.id = t.run_id
        WHERE t.schedule_id = %(schedule)s AND r.status = 'COMPLETED'
            AND t.scheduled_for BETWEEN w.moment AND w.moment + interval '2 days'
            AND (t.scheduled_for = w.moment
                 OR (t.scheduled_for < w.following AND t.session = w.session AND t.reason = %(by_hand)s))
    ) own ON true
    LEFT JOIN LATERAL (
        SELECT count(*) AS times, min(b.run_id) AS run_id FROM backfill_ticks b LEFT JOIN runs r ON r.id = b.run_id
        WHERE b.subject = %(subject)s AND b.scheduled_for = w.moment
            AND (b.state = 'completed' OR r.status = 'COMPLETED')
    ) filled ON true
    WHERE own.run_id IS NOT NULL OR filled.times > 0
"""
_DECIDED = """
    SELECT t.scheduled_for, t.state, t.reason, t.tick_count, t.run_id, r.status, r.reason AS run_reason
    FROM ticks t LEFT JOIN runs r ON r.id = t.run_id
    WHERE t.schedule_id = %s AND t.scheduled_for >= %s ORDER BY t.scheduled_for
"""
_TRIED = """
    SELECT DISTINCT ON (b.scheduled_for) b.scheduled_for, b.backfill_id, b.state, b.reason, b.run_id, r.status
    FROM backfill_ticks b LEFT JOIN runs r ON r.id = b.run_id
    WHERE b.subject = %s AND b.scheduled_for >= %s AND b.state IN ('waiting', 'started', 'failed')
    ORDER BY b.scheduled_for, b.backfill_id DESC
"""
_OPEN = ("PENDING", "RUNNING")


class MissingTick(NamedTuple):
    """A tick without a successful run: `missed`, `skipped`, `rejected`, `failed`, `open`, `unknown` or `none`."""

    schedule: str
    tick: Tick
    state: str
    why: str
    run_id: int | None


def subject_of(schedule_id: int) -> str:
    """What the backfills of a schedule have in common."""
    return f"schedule {schedule_id}"


def describe_done(run_id: int | None) -> str:
    """Why a tick with a successful run is skipped."""
    return "it was completed before" if run_id is None else f"run {run_id} has completed it"


def find_done(
    connection: Connection, subject: str, schedule_id: int | None, ticks: Sequence[Tick], *, by_hand: bool = True
) -> dict[datetime, int | None]:
    """The successful run of each of these ticks that has one, None where it is not kept any more.

    The ticks are all of their period, if a run that was triggered `by_hand` is to count for the tick before it.
    """
    values = {
        "moments": [tick.moment for tick in ticks],
        "sessions": [tick.session for tick in ticks],
        "schedule": schedule_id,
        "subject": subject,
        "by_hand": BY_HAND if by_hand else None,
    }
    return dict(connection.execute(_DONE, values).fetchall())


def list_missing(connection: Connection, schedule: Schedule, since: datetime, now: datetime) -> list[MissingTick]:
    """The ticks of a schedule since then that have come and have no successful run, with the reason.

    Raises BadInputError for more ticks than a period may have.
    """
    definition = schedule.require_definition()
    timing = definition.timing
    if timing is None:
        return []
    ticks = _list_decided_ticks(schedule, definition, timing, since, now)
    done = find_done(connection, subject_of(schedule.id), schedule.id, ticks)
    decided = fetch_rows(connection, _DECIDED, (schedule.id, since))
    tried = {row["scheduled_for"]: row for row in fetch_rows(connection, _TRIED, (subject_of(schedule.id), since))}
    by_moment = {row["scheduled_for"]: row for row in decided}
    found = []
    for tick in ticks:
        if tick.moment in done:
            continue
        row = by_moment.get(tick.moment) or _find_summary(decided, tick.moment)
        found.append(MissingTick(schedule.name, tick, *_explain(row, tried.get(tick.moment))))
    return found


def _list_decided_ticks(
    schedule: Schedule, definition: ScheduleDefinition, timing: Timing, since: datetime, now: datetime
) -> list[Tick]:
    """The ticks since then, but those that the scheduler has still to decide."""
    zone = timing.zone
    period = Period(since.astimezone(zone).date() - timedelta(days=1), now.astimezone(zone).date() + timedelta(days=1))
    undecided = schedule.next_run_at if definition.enabled else None
    return [
        tick
        for tick in period.list_ticks(timing, now)
        if tick.moment >= since and (undecided is None or tick.moment < undecided)
    ]


def _find_summary(decided: Sequence[dict[str, Any]], moment: datetime) -> dict[str, Any] | None:
    """The row that stands for many ticks, if this one may be among them."""
    place = bisect_right(decided, moment, key=lambda row: row["scheduled_for"])
    return decided[place] if place < len(decided) and decided[place]["tick_count"] > 1 else None


def _explain(row: dict[str, Any] | None, tried: dict[str, Any] | None) -> tuple[str, str, int | None]:
    """State, reason and run: of the newest backfill that has tried it, else of the tick."""
    if tried is not None:
        where = f"backfill {tried['backfill_id']}"
        if tried["state"] == "failed" and tried["status"] not in _OPEN:
            return "failed", f"{where}: {tried['reason']}", tried["run_id"]
        return "open", f"{where}: it is {tried['state']}", tried["run_id"]
    if row is None:
        return "none", "no tick was recorded: the schedule was not there yet, was another or was paused", None
    if row["state"] == "waiting":
        return "open", f"the tick is waiting {row['reason'] or ''}".rstrip(), None
    if row["state"] != "started":
        return row["state"], row["reason"] or "", None
    if row["run_id"] is None:
        return "unknown", "its run is not kept any more", None
    state = "open" if row["status"] in _OPEN else "failed"
    because = f": {row['run_reason']}" if row["run_reason"] else ""
    return state, f"run {row['run_id']} is {row['status']}{because}", row["run_id"]
