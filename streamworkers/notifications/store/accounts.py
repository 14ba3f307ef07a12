"""Who is a user, and to whom nothing is sent any more. Each function that changes one is one transaction."""

from collections.abc import Sequence
from typing import Any

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_rows
from streamworkers.users import RUN_WEBHOOKS, add_user, lock_user, require_new_user

DISABLED = "the user is disabled"

_LIST = """
SELECT u.id AS user, u.created_at, u.disabled_at,
       (SELECT count(*) FROM endpoints e
        WHERE e.user_id = u.id AND e.verified_at IS NOT NULL AND e.off_at IS NULL) AS endpoints,
       (SELECT count(*) FROM alerts a WHERE a.user_id = u.id AND a.removed_at IS NULL) AS alerts
FROM users u WHERE u.id <> %s ORDER BY u.id"""

_SUPPRESS = """
UPDATE deliveries SET state = 'suppressed', reason = %s
WHERE user_id = %s AND state IN ('queued', 'deferred', 'failed', 'ambiguous')"""


def register_user(connection: Connection, user: str, actor: Actor = LOCAL) -> bool:
    """Add a user; False if there is one of this name. Raises BadInputError for a name that cannot be."""
    require_new_user(connection, user)
    with connection.transaction():
        added = add_user(connection, user)
        _record(connection, actor, "add", user)
    return added


def list_users(connection: Connection) -> list[dict[str, Any]]:
    """All users by name, each with the numbers of endpoints that are on and of alerts."""
    return fetch_rows(connection, _LIST, (RUN_WEBHOOKS,))


def disable_user(connection: Connection, user: str, actor: Actor = LOCAL) -> bool:
    """Send nothing to a user any more; what waits is suppressed, and all that they own stays. False if it was so.

    Raises UnknownNameError.
    """
    with connection.transaction():
        lock_user(connection, Actor(user))
        changed = connection.execute(
            "UPDATE users SET disabled_at = clock_timestamp() WHERE id = %s AND disabled_at IS NULL", (user,)
        )
        connection.execute(_SUPPRESS, (DISABLED, user))
        _record(connection, actor, "disable", user)
    return changed.rowcount > 0


def enable_user(connection: Connection, user: str, actor: Actor = LOCAL) -> bool:
    """Send to a user again, from now on; False if nothing was in the way. Raises UnknownNameError."""
    with connection.transaction():
        lock_user(connection, Actor(user))
        changed = connection.execute(
            "UPDATE users SET disabled_at = NULL WHERE id = %s AND disabled_at IS NOT NULL", (user,)
        )
        _record(connection, actor, "enable", user)
    return changed.rowcount > 0


def find_disabled(connection: Connection, users: Sequence[str]) -> set[str]:
    """Those of these users to whom nothing is sent."""
    statement = "SELECT id FROM users WHERE id = ANY(%s) AND disabled_at IS NOT NULL"
    return {user for (user,) in connection.execute(statement, (list(users),))}


def _record(connection: Connection, actor: Actor, verb: str, user: str) -> None:
    record_change(connection, actor, AuditChange(f"user.{verb}", "user", user))
