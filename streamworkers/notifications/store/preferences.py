"""The tables `notification_preferences` and `quiet_hours`."""

from collections.abc import Sequence

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_rows
from streamworkers.notifications.preferences import Preference, QuietHours, require_preference, require_quiet_hours
from streamworkers.users import lock_user

_SET = """
INSERT INTO notification_preferences (user_id, type, channel, mode, digest_minutes, digest_at, zone)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (user_id, type, channel) DO UPDATE SET mode = excluded.mode, digest_minutes = excluded.digest_minutes,
    digest_at = excluded.digest_at, zone = excluded.zone"""

_SET_QUIET = """
INSERT INTO quiet_hours (user_id, starts, ends, zone) VALUES (%s, %s, %s, %s)
ON CONFLICT (user_id) DO UPDATE SET starts = excluded.starts, ends = excluded.ends, zone = excluded.zone"""


def set_preference(connection: Connection, actor: Actor, preference: Preference) -> None:
    """Add or replace the preference of a type and channel. Raises BadInputError, and UnknownNameError for the user."""
    require_preference(preference)
    with connection.transaction():
        lock_user(connection, actor)
        connection.execute(
            _SET,
            (
                *(actor.user, preference.type, preference.channel, preference.mode),
                *(preference.digest_minutes, preference.digest_at, preference.zone),
            ),
        )
        _record(connection, actor, "set", f"{preference.type} {preference.channel}", {"mode": preference.mode})


def remove_preference(connection: Connection, actor: Actor, type_name: str, channel: str) -> bool:
    """Remove the preference of a type and channel; False if there is none."""
    with connection.transaction():
        removed = connection.execute(
            "DELETE FROM notification_preferences WHERE user_id = %s AND type = %s AND channel = %s",
            (actor.user, type_name, channel),
        )
        _record(connection, actor, "remove", f"{type_name} {channel}", {})
    return removed.rowcount > 0


def read_preferences(connection: Connection, users: Sequence[str]) -> dict[str, list[Preference]]:
    """The preferences of users, by type and channel; users without any are left out."""
    rows = fetch_rows(
        connection,
        "SELECT user_id, type, channel, mode, digest_minutes, digest_at, zone FROM notification_preferences"
        " WHERE user_id = ANY(%s) ORDER BY user_id, type, channel",
        (list(users),),
    )
    found: dict[str, list[Preference]] = {}
    for row in rows:
        found.setdefault(row.pop("user_id"), []).append(Preference(**row))
    return found


def set_quiet_hours(connection: Connection, actor: Actor, quiet: QuietHours | None) -> None:
    """Set the quiet hours of a user, or end them. Raises BadInputError, and UnknownNameError for the user."""
    if quiet is not None:
        require_quiet_hours(quiet)
    with connection.transaction():
        lock_user(connection, actor)
        if quiet is None:
            connection.execute("DELETE FROM quiet_hours WHERE user_id = %s", (actor.user,))
        else:
            connection.execute(_SET_QUIET, (actor.user, quiet.starts, quiet.ends, quiet.zone))
        hours = {} if quiet is None else {"starts": f"{quiet.starts:%H:%M}", "ends": f"{quiet.ends:%H:%M}"}
        _record(connection, actor, "quiet", "quiet hours", hours)


def read_quiet_hours(connection: Connection, users: Sequence[str]) -> dict[str, QuietHours]:
    """The quiet hours of those users who have any."""
    rows = fetch_rows(
        connection, "SELECT user_id, starts, ends, zone FROM quiet_hours WHERE user_id = ANY(%s)", (list(users),)
    )
    return {row.pop("user_id"): QuietHours(**row) for row in rows}


def _record(connection: Connection, actor: Actor, verb: str, name: str, after: dict[str, str]) -> None:
    after = {"user": actor.user, **after}
    record_change(connection, actor, AuditChange(f"preference.{verb}", "preference", name, after=after))
