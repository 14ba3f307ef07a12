"""The table `schedules`: definitions, and the next tick of each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.schedules import timings
from streamworkers.schedules.cursor import Cursor
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.next_tick import NextTick, plan_first, plan_retry
from streamworkers.schedules.webhooks import require_webhook
from streamworkers.users import require_new_user

_FIELDS = tuple(ScheduleDefinition.model_fields)
COLUMNS = sql.SQL(", ").join(map(sql.Identifier, _FIELDS))
# A change of the definition takes a later moment, under the lock of its row: it numbers the versions.
_VERSION = sql.SQL("(extract(epoch FROM updated_at) * 1000000)::bigint AS version")
PLANNED = sql.SQL("next_run_at, due_at, planned_from, decided_until, decided_label, problem")
_SELECT = sql.SQL("SELECT {}, id, {}, {} FROM schedules ").format(COLUMNS, PLANNED, _VERSION)
_LOCK_EDITS = "SELECT pg_advisory_xact_lock(hashtext('schedules'))"


@dataclass(frozen=True, slots=True)
class Schedule:
    """A row of `schedules`: its definition and its next tick.

    `version` is another number after each change of the definition. `definition` is None if the fields of the row are
    invalid, as after an UPDATE by hand; `broken` says why.
    """

    id: int
    name: str
    definition: ScheduleDefinition | None
    next_run_at: datetime | None
    due_at: datetime | None
    cursor: Cursor
    problem: str | None
    broken: str | None = None
    version: int = 0

    def require_definition(self) -> ScheduleDefinition:
        """The definition. Raises BadInputError if the row is invalid."""
        if self.definition is None:
            raise BadInputError(self.broken or f"schedule {self.name!r} has no definition")
        return self.definition


def list_schedules(connection: Connection) -> list[Schedule]:
    """Return all schedules, ordered by name."""
    return list(_select(connection, sql.SQL("ORDER BY name"), {}))


def list_names(connection: Connection) -> list[str]:
    """The names of all schedules that have ticks."""
    return [name for (name,) in connection.execute("SELECT name FROM schedules WHERE cron IS NOT NULL").fetchall()]


def list_paused(connection: Connection) -> set[str]:
    """The names of all schedules that are paused."""
    return {name for (name,) in connection.execute("SELECT name FROM schedules WHERE NOT enabled").fetchall()}


def read_owners(connection: Connection, schedule_ids: Sequence[int]) -> dict[int, str | None]:
    """The user of each of these schedules that exist."""
    rows = connection.execute("SELECT id, user_id FROM schedules WHERE id = ANY(%s)", (list(schedule_ids),))
    return dict(rows.fetchall())


def find_schedule(connection: Connection, name: str) -> Schedule | None:
    """The schedule of that name, or None."""
    return next(_select(connection, sql.SQL("WHERE name = %(name)s"), {"name": name}), None)


def find_numbered(connection: Connection, schedule_id: int) -> Schedule | None:
    """The schedule of that number, or None."""
    return next(_select(connection, sql.SQL("WHERE id = %(id)s"), {"id": schedule_id}), None)


def require_schedule(connection: Connection, name: str) -> Schedule:
    """The schedule of that name. Raises UnknownNameError."""
    found = find_schedule(connection, name)
    if found is None:
        raise UnknownNameError("schedule", name, (schedule.name for schedule in list_schedules(connection)))
    return found


def schedules_for_event(connection: Connection, event: str) -> list[Schedule]:
    """The schedules that an event starts, including paused ones."""
    return list(_select(connection, sql.SQL("WHERE on_event = %(event)s ORDER BY name"), {"event": event}))


def save_schedule(
    connection: Connection, definition: ScheduleDefinition, *, old_name: str | None = None, actor: Actor = LOCAL
) -> None:
    """Insert a schedule, or replace the one named `old_name`, and plan its next tick.

    Raises BadInputError for a name that is taken, a user or webhook that cannot be and a circle of `after`,
    UnknownNameError for an unknown `after`.
    """
    values = _to_row(definition)
    if definition.user_id is not None:
        require_new_user(connection, definition.user_id)
    require_webhook(connection, definition.name, definition.webhook)
    with connection.transaction():
        lock_edits(connection)
        if definition.name != old_name and find_schedule(connection, definition.name) is not None:
            raise BadInputError(f"there is a schedule {definition.name!r} already")
        _require_no_circle(connection, definition, old_name)
        before = None if old_name is None else find_schedule(connection, old_name)
        if old_name is None:
            statement = sql.SQL("INSERT INTO schedules ({}) VALUES ({})").format(
                COLUMNS, sql.SQL(", ").join(map(sql.Placeholder, _FIELDS))
            )
        else:
            assignments = (sql.SQL("{} = {}").format(sql.Identifier(f), sql.Placeholder(f)) for f in _FIELDS)
            statement = sql.SQL("UPDATE schedules SET {} WHERE name = %(old_name)s").format(
                sql.SQL(", ").join(assignments)
            )
        connection.execute(statement, values | {"old_name": old_name})
        plan_schedule(connection, definition.name, database_clock(connection))
        action = "schedule.create" if old_name is None else "schedule.change"
        _record(connection, actor, action, definition.name, before, definition)


def set_enabled(connection: Connection, name: str, enabled: bool, actor: Actor = LOCAL) -> None:
    """Pause a schedule, or resume it from now on: ticks during the pause are not made up for.

    One that is paused by name stays paused when all are resumed.
    """
    with connection.transaction():
        statement = (
            "UPDATE schedules SET enabled = %s, paused_with_all = false"
            " WHERE name = %s AND (enabled <> %s OR paused_with_all)"
        )
        connection.execute(statement, (enabled, name, enabled))
        plan_schedule(connection, name, database_clock(connection))
        action = "schedule.resume" if enabled else "schedule.pause"
        record_change(connection, actor, AuditChange(action, "schedule", name))


def remove_schedule(connection: Connection, name: str, actor: Actor = LOCAL) -> None:
    """Remove a schedule, not its ticks and runs. Raises BadInputError if another schedule comes after it."""
    with connection.transaction():
        lock_edits(connection)
        rows = connection.execute("SELECT name FROM schedules WHERE after = %s ORDER BY name", (name,)).fetchall()
        if rows:
            raise BadInputError(f"schedule {name!r} is awaited by {', '.join(other for (other,) in rows)}")
        before = find_schedule(connection, name)
        connection.execute("DELETE FROM schedules WHERE name = %s", (name,))
        _record(connection, actor, "schedule.remove", name, before, None)


def _record(
    connection: Connection,
    actor: Actor,
    action: str,
    name: str,
    before: Schedule | None,
    after: ScheduleDefinition | None,
) -> None:
    definitions = (before.definition if before is not None else None, after)
    shown = [None if each is None else each.show(exclude_none=True) for each in definitions]
    record_change(connection, actor, AuditChange(action, "schedule", name, shown[0], shown[1]))


def lock_edits(connection: Connection) -> None:
    """Keep other edits out until the transaction ends; call it before any schedule is locked."""
    connection.execute(_LOCK_EDITS)


def lock_due(connection: Connection, now: datetime) -> Schedule | None:
    """A schedule that is due or not planned yet, locked until the transaction ends; None if there is none."""
    # The index `schedules_due` has these very terms: one that is due is found without a look at the others.
    where = sql.SQL(
        "WHERE enabled AND cron IS NOT NULL AND coalesce(due_at, '-infinity') <= %(now)s"
        " ORDER BY coalesce(due_at, '-infinity'), id LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    return next(_select(connection, where, {"now": now}), None)


def lock_schedule(connection: Connection, name: str) -> Schedule:
    """The schedule of that name, locked until the transaction ends. Raises UnknownNameError."""
    require_schedule(connection, name)
    return next(_select(connection, sql.SQL("WHERE name = %(name)s FOR UPDATE"), {"name": name}))


def plan_schedule(connection: Connection, name: str, now: datetime) -> None:
    """Store the next tick of a schedule that has a cron and is enabled but not planned, or why there is none."""
    where = sql.SQL("WHERE name = %(name)s AND enabled AND cron IS NOT NULL AND due_at IS NULL FOR UPDATE")
    schedule = next(_select(connection, where, {"name": name}), None)
    if schedule is None:
        return
    if schedule.definition is None:
        planned = plan_retry(schedule.next_run_at, schedule.broken or "", now)
    else:
        planned = plan_first(schedule.id, schedule.definition, schedule.next_run_at, schedule.cursor, now)
    if timings.has_due(connection, schedule.id, now):
        planned = planned._replace(due_at=now)
    set_next_tick(connection, schedule, planned, schedule.cursor)


def set_next_tick(connection: Connection, schedule: Schedule, planned: NextTick, cursor: Cursor) -> None:
    """Store the next tick of a schedule, when to look at the schedule again, and how far its ticks are decided."""
    connection.execute(
        "UPDATE schedules SET next_run_at = %s, due_at = %s, problem = %s, decided_until = %s, decided_label = %s"
        " WHERE id = %s",
        (planned.next_run_at, planned.due_at, planned.problem, cursor.until, cursor.label, schedule.id),
    )


def list_planned(connection: Connection, after_id: int, limit: int) -> list[Schedule]:
    """The next schedules after an id that have a planned tick."""
    where = sql.SQL(
        "WHERE enabled AND cron IS NOT NULL AND due_at IS NOT NULL AND id > %(after)s ORDER BY id LIMIT %(limit)s"
    )
    return list(_select(connection, where, {"after": after_id, "limit": limit}))


def advance_tick(connection: Connection, schedule: Schedule, planned: NextTick) -> None:
    """Store an earlier next tick, unless the schedule was planned or changed since it was read."""
    connection.execute(
        "UPDATE schedules SET next_run_at = %s, due_at = %s, problem = %s WHERE id = %s AND due_at = %s"
        " AND planned_from = %s AND decided_until IS NOT DISTINCT FROM %s",
        (planned.next_run_at, planned.due_at, planned.problem, schedule.id, schedule.due_at, *schedule.cursor[:2]),
    )


def next_due(connection: Connection) -> datetime | None:
    """When the next planned schedule is due; None if there is none."""
    row = connection.execute(
        "SELECT due_at FROM schedules WHERE enabled AND cron IS NOT NULL"
        " AND coalesce(due_at, '-infinity') > '-infinity' ORDER BY coalesce(due_at, '-infinity') LIMIT 1"
    ).fetchone()
    return None if row is None else row[0]


def database_clock(connection: Connection) -> datetime:
    """PostgreSQL's time, the one clock of all replicas."""
    row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    moment: datetime = row[0]
    return moment


def _require_no_circle(connection: Connection, definition: ScheduleDefinition, old_name: str | None) -> None:
    rows = connection.execute("SELECT name, after FROM schedules").fetchall()
    # A renamed schedule keeps the schedules that come after it.
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


def _to_row(definition: ScheduleDefinition) -> dict[str, Any]:
    values = definition.model_dump()
    values["target"] = Jsonb(definition.target.model_dump(exclude_none=True)) if definition.target else None
    values["parameters"] = Jsonb(definition.parameters)
    values["webhook"] = definition.webhook and Jsonb(definition.webhook)
    return values


def _select(connection: Connection, where: sql.SQL, values: dict[str, Any]) -> Iterator[Schedule]:
    rows = connection.cursor(row_factory=dict_row).execute(_SELECT + where, values).fetchall()
    return (schedule_from_row(row) for row in rows)


def schedule_from_row(row: dict[str, Any]) -> Schedule:
    """A schedule from a row with `COLUMNS` and the planned columns."""
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
        Cursor(row["planned_from"], row["decided_until"], row["decided_label"]),
        row["problem"],
        broken,
        row.get("version", 0),
    )
