"""The table `maintenance_windows`: adding, listing and removing them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_row, fetch_rows
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.schedules.maintenance import MaintenanceWindow, Mode
from streamworkers.schedules.store import database_clock, require_schedule

_LIST = """
    SELECT w.id, w.starts_at, w.ends_at, w.mode, w.timezone, w.note, w.created_by, w.schedule_ids,
        CASE WHEN w.schedule_ids IS NOT NULL THEN
            ARRAY(SELECT name FROM schedules WHERE id = ANY(w.schedule_ids) ORDER BY name) END AS schedules,
        CASE WHEN clock_timestamp() < w.starts_at THEN 'to come' WHEN clock_timestamp() < w.ends_at THEN 'open'
            ELSE 'over' END AS state
    FROM maintenance_windows w
    WHERE %(past)s OR w.ends_at > clock_timestamp()
    ORDER BY w.starts_at, w.id
"""
_ADD = """
    INSERT INTO maintenance_windows (starts_at, ends_at, schedule_ids, mode, timezone, note, created_by)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
"""
_READ = """
    SELECT id, starts_at, ends_at, schedule_ids, mode, timezone, note FROM maintenance_windows
    WHERE ends_at > %s ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class NewWindow:
    """A maintenance window before it is written; no `schedules` stand for all."""

    starts_at: datetime
    ends_at: datetime
    timezone: str
    schedules: Sequence[str] = ()
    mode: Mode = "skip"
    note: str = ""


def add_window(connection: Connection, new: NewWindow, actor: Actor = LOCAL) -> int:
    """Add a window; returns its number. Raises BadInputError for times that are over, UnknownNameError."""
    with connection.transaction():
        now = database_clock(connection)
        if new.ends_at <= new.starts_at:
            raise BadInputError(f"a window ends after it begins, and {new.ends_at} is not after {new.starts_at}")
        if new.ends_at <= now:
            raise BadInputError(f"the window is over: it ends at {new.ends_at}")
        ids = [require_schedule(connection, name).id for name in new.schedules] or None
        values = (new.starts_at, new.ends_at, ids, new.mode, new.timezone, new.note, actor.person)
        row = connection.execute(_ADD, values).fetchone()
        assert row is not None
        after = {
            name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(new).items()
        }
        record_change(connection, actor, AuditChange("window.add", "maintenance_window", str(row[0]), after=after))
        return int(row[0])


def remove_window(connection: Connection, window_id: int, actor: Actor = LOCAL) -> str:
    """Remove a window that is to come, or end an open one now; returns which of both: `removed` or `ended`.

    Raises UnknownNameError, and BadInputError for one that is over: it is the reason of ticks that were skipped.
    """
    with connection.transaction():
        statement = "SELECT starts_at, ends_at FROM maintenance_windows WHERE id = %s FOR UPDATE"
        found, now = fetch_row(connection, statement, (window_id,)), database_clock(connection)
        if found is None:
            known = connection.execute("SELECT id FROM maintenance_windows WHERE ends_at > %s", (now,)).fetchall()
            raise UnknownNameError("maintenance window", str(window_id), (str(each) for (each,) in known))
        if found["ends_at"] <= now:
            raise BadInputError(f"maintenance window {window_id} is over: what it has skipped names it")
        if found["starts_at"] > now:
            connection.execute("DELETE FROM maintenance_windows WHERE id = %s", (window_id,))
        else:
            connection.execute("UPDATE maintenance_windows SET ends_at = %s WHERE id = %s", (now, window_id))
        before = {name: value.isoformat() for name, value in found.items()}
        record_change(connection, actor, AuditChange("window.remove", "maintenance_window", str(window_id), before))
        return "removed" if found["starts_at"] > now else "ended"


def list_windows(connection: Connection, *, past: bool) -> list[dict[str, Any]]:
    """The windows that are open or to come, and with `past` all, with the names of their schedules."""
    return fetch_rows(connection, _LIST, {"past": past})


def read_maintenance_windows(connection: Connection, since: datetime) -> list[MaintenanceWindow]:
    """The windows that end after a moment."""
    rows = connection.execute(_READ, (since,)).fetchall()
    return [
        MaintenanceWindow(number, first, last, None if ids is None else frozenset(ids), mode, zone, note)
        for number, first, last, ids, mode, zone, note in rows
    ]
