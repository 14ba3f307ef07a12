"""The tables `schedules` and `ticks`: all SQL about them is here, and in `history.py` for reading."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.dependency import Awaited
from streamworkers.schedules.timing import Tick

MISSING_TOLD = 1000
_FIELDS = tuple(ScheduleDefinition.model_fields)
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, _FIELDS))
_SELECT = sql.SQL("SELECT {}, id, next_run_at, due_at, planned_from, problem FROM schedules ").format(_COLUMNS)
_LOCK_EDITS = "SELECT pg_advisory_xact_lock(hashtext('schedules'))"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A row of `schedules`: what people set, and what planning made of it.

    `broken` says why the fields of the row are no definition, as after an UPDATE by hand; then there is none.
    """

    id: int
    name: str
    definition: ScheduleDefinition | None
    next_run_at: datetime | None
    due_at: datetime | None
    planned_from: datetime
    problem: str | None
    broken: str | None = None

    def require_definition(self) -> ScheduleDefinition:
        """The definition. Raises BadInputError where the row holds none."""
        if self.definition is None:
            raise BadInputError(self.broken or f"schedule {self.name!r} has no definition")
        return self.definition


@dataclass(frozen=True, slots=True)
class WaitingTick:
    """A tick that waits for another schedule's run, or for room."""

    schedule: Schedule
    tick: Tick
    decided_at: datetime


def list_schedules(connection: Connection) -> list[Schedule]:
    """All schedules, by name."""
    return list(_schedules(connection, sql.SQL("ORDER BY name"), {}))


def find_schedule(connection: Connection, name: str) -> Schedule | None:
    """The schedule of that name, or None."""
    return next(_schedules(connection, sql.SQL("WHERE name = %(name)s"), {"name": name}), None)


def require_schedule(connection: Connection, name: str) -> Schedule:
    """The schedule of that name. Raises UnknownNameError."""
    found = find_schedule(connection, name)
    if found is None:
        raise UnknownNameError("schedule", name, (schedule.name for schedule in list_schedules(connection)))
    return found


def schedules_for_event(connection: Connection, event: str) -> list[Schedule]:
    """The schedules that an event starts, paused ones too."""
    return list(_schedules(connection, sql.SQL("WHERE on_event = %(event)s ORDER BY name"), {"event": event}))


def save_schedule(connection: Connection, definition: ScheduleDefinition, *, old_name: str | None = None) -> None:
    """Insert a schedule, or replace the one named `old_name`.

    Raises BadInputError for a name that is taken and for a circle of `after`, UnknownNameError for an `after` that is
    no schedule.
    """
    values = _row(definition)
    with connection.transaction():
        lock_edits(connection)
        if definition.name != old_name and find_schedule(connection, definition.name) is not None:
            raise BadInputError(f"there is a schedule {definition.name!r} already")
        _require_no_circle(connection, definition, old_name)
        if old_name is None:
            statement = sql.SQL("INSERT INTO schedules ({}) VALUES ({})").format(
                _COLUMNS, sql.SQL(", ").join(map(sql.Placeholder, _FIELDS))
            )
        else:
            assignments = (sql.SQL("{} = {}").format(sql.Identifier(f), sql.Placeholder(f)) for f in _FIELDS)
            statement = sql.SQL("UPDATE schedules SET {} WHERE name = %(old_name)s").format(
                sql.SQL(", ").join(assignments)
            )
        connection.execute(statement, values | {"old_name": old_name})


def set_enabled(connection: Connection, name: str, enabled: bool) -> None:
    """Pause or resume a schedule; the ticks of the pause never were."""
    connection.execute("UPDATE schedules SET enabled = %s WHERE name = %s AND enabled <> %s", (enabled, name, enabled))


def remove_schedule(connection: Connection, name: str) -> None:
    """Remove a schedule with its ticks; its runs stay. Raises BadInputError while another comes after it."""
    with connection.transaction():
        lock_edits(connection)
        rows = connection.execute("SELECT name FROM schedules WHERE after = %s ORDER BY name", (name,)).fetchall()
        if rows:
            raise BadInputError(f"schedule {name!r} is awaited by {', '.join(other for (other,) in rows)}")
        connection.execute("DELETE FROM schedules WHERE name = %s", (name,))


def lock_edits(connection: Connection) -> None:
    """Keep other edits out to the end of the transaction; before any schedule is locked."""
    connection.execute(_LOCK_EDITS)


def lock_due(connection: Connection, now: datetime) -> Schedule | None:
    """A schedule whose time has come, or which was not planned yet, locked to the end of the transaction."""
    where = sql.SQL(
        "WHERE enabled AND cron IS NOT NULL AND (due_at IS NULL OR due_at <= %(now)s)"
        " ORDER BY due_at NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    return next(_schedules(connection, where, {"now": now}), None)


def lock_schedule(connection: Connection, name: str) -> Schedule:
    """The schedule of that name, locked to the end of the transaction. Raises UnknownNameError."""
    require_schedule(connection, name)
    return next(_schedules(connection, sql.SQL("WHERE name = %(name)s FOR UPDATE"), {"name": name}))


def set_planned(
    connection: Connection,
    schedule: Schedule,
    next_run_at: datetime | None,
    due_at: datetime,
    problem: str | None,
    *,
    planned_from: datetime | None = None,
) -> None:
    """Note the next tick and when to look at the schedule again; without a next tick, from when on there may be one."""
    connection.execute(
        "UPDATE schedules SET next_run_at = %s, due_at = %s, problem = %s,"
        " planned_from = coalesce(%s, planned_from) WHERE id = %s",
        (next_run_at, due_at, problem, planned_from, schedule.id),
    )


def next_due(connection: Connection) -> datetime | None:
    """When the next schedule is due; None without any."""
    row = connection.execute("SELECT min(due_at) FROM schedules WHERE enabled AND cron IS NOT NULL").fetchone()
    assert row is not None
    found: datetime | None = row[0]
    return found


def decide_tick(
    connection: Connection,
    schedule: Schedule,
    tick: Tick,
    state: str,
    now: datetime,
    *,
    reason: str | None = None,
    ticks: int = 1,
) -> bool:
    """Insert what becomes of a tick; False when that had been decided before."""
    row = connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason, tick_count, decided_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
        (schedule.id, tick.moment, tick.session, state, reason, ticks, now),
    ).fetchone()
    return row is not None


def change_tick(
    connection: Connection,
    schedule: Schedule,
    tick: Tick,
    state: str,
    *,
    reason: str | None,
    detail: dict[str, Any] | None = None,
    run_id: int | None = None,
) -> None:
    """Set what became of a tick that was inserted before; `detail` None keeps the one that is there."""
    connection.execute(
        "UPDATE ticks SET state = %s, reason = %s, detail = coalesce(%s, detail), run_id = %s"
        " WHERE schedule_id = %s AND scheduled_for = %s",
        (state, reason, None if detail is None else Jsonb(detail), run_id, schedule.id, tick.moment),
    )


def lock_waiting(connection: Connection, after: tuple[datetime, int], but: Sequence[int]) -> WaitingTick | None:
    """The next waiting tick after (moment, schedule id), with its schedule, both locked; None when there is none.

    Ticks of the schedules in `but` are passed over.
    """
    statement = sql.SQL(
        "SELECT {}, s.id, next_run_at, due_at, planned_from, problem, t.scheduled_for, t.session, t.decided_at"
        " FROM ticks t JOIN schedules s ON s.id = t.schedule_id"
        " WHERE t.state = 'waiting' AND (t.scheduled_for, t.schedule_id) > (%s, %s) AND t.schedule_id <> ALL(%s)"
        " ORDER BY t.scheduled_for, t.schedule_id LIMIT 1 FOR UPDATE OF t, s SKIP LOCKED"
    ).format(_COLUMNS)
    row = connection.cursor(row_factory=dict_row).execute(statement, (*after, list(but))).fetchone()
    if row is None:
        return None
    return WaitingTick(_schedule(row), Tick(row["scheduled_for"], row["session"]), row["decided_at"])


class Instances(NamedTuple):
    """The open runs of a schedule, the oldest of them, and its ticks that wait."""

    open_runs: int
    oldest: int | None
    waiting: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.open_runs + self.waiting

    def described(self) -> str:
        """One of them, in words."""
        return f"run {self.oldest} is open" if self.oldest else "an earlier tick waits"


def open_instances(connection: Connection, schedule: Schedule, *, before: Tick | None = None) -> Instances:
    """What a schedule has under way; of its ticks that wait all, or those before one."""
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


def awaited_run(connection: Connection, parent: str, session: date, moment: datetime) -> Awaited:
    """How far the other schedule is in a session.

    What counts is the newest of its ticks up to a moment that has a run, or one after it, as when a person started it
    again: the one that covers most. Ticks without a run are looked at only while there is none.
    """
    row = connection.execute(
        "WITH candidates AS (SELECT t.scheduled_for, t.state, t.reason, r.id, r.status, r.item_count, r.run_day,"
        "  coalesce(r.completed_count, 0)::float8 / greatest(r.item_count, 1) AS coverage"
        "  FROM schedules s JOIN ticks t ON t.schedule_id = s.id"
        "  LEFT JOIN runs r ON r.id = t.run_id"
        "  WHERE s.name = %(parent)s AND t.session = %(session)s)"
        " SELECT state, reason, id, status, item_count, run_day FROM candidates"
        " WHERE scheduled_for >= coalesce((SELECT max(scheduled_for) FROM candidates"
        "  WHERE id IS NOT NULL AND scheduled_for <= %(moment)s), '-infinity')"
        " ORDER BY id IS NOT NULL DESC, coverage DESC, scheduled_for DESC LIMIT 1",
        {"parent": parent, "session": session, "moment": moment},
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
        (MISSING_TOLD, run_day, run_id),
    ).fetchone()
    assert counts is not None
    return Awaited(parent, state, reason, run_id, status, items, counts[0], tuple(counts[1]))


def database_clock(connection: Connection) -> datetime:
    """PostgreSQL's time: one clock for all replicas."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def _require_no_circle(connection: Connection, definition: ScheduleDefinition, old_name: str | None) -> None:
    rows = connection.execute("SELECT name, after FROM schedules").fetchall()
    # As it will be: a schedule that comes after one that is renamed follows it.
    renamed = {old_name: definition.name} if old_name is not None else {}
    awaited = {name: renamed.get(after, after) for name, after in rows if name != old_name}
    known = list(awaited)
    awaited[definition.name] = definition.after
    path, at = [definition.name], definition.after
    while at is not None:
        if at not in awaited:
            raise UnknownNameError("schedule", at, known)
        if at in path:
            raise BadInputError(f"schedules come after each other in a circle: {' after '.join([*path, at])}")
        path.append(at)
        at = awaited[at]


def _row(definition: ScheduleDefinition) -> dict[str, Any]:
    values = definition.model_dump()
    values["target"] = Jsonb(definition.target.model_dump(exclude_none=True)) if definition.target else None
    values["parameters"] = Jsonb(definition.parameters)
    return values


def _schedules(connection: Connection, where: sql.SQL, values: dict[str, Any]) -> Iterator[Schedule]:
    rows = connection.cursor(row_factory=dict_row).execute(_SELECT + where, values).fetchall()
    return (_schedule(row) for row in rows)


def _schedule(row: dict[str, Any]) -> Schedule:
    definition, broken = None, None
    try:
        definition = ScheduleDefinition.parse({name: row[name] for name in _FIELDS})
    except BadInputError as error:
        broken = str(error)
    return Schedule(
        row["id"],
        row["name"],
        definition,
        row["next_run_at"],
        row["due_at"],
        row["planned_from"],
        row["problem"],
        broken,
    )
