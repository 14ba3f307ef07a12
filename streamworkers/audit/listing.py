"""Reads the table `audit_log`, newest rows first."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from streamworkers.database import Connection, fetch_rows

_LIST = """
    SELECT id, at, actor_kind, actor_user, actor_token, host(address) AS address, request_id, action, object_type,
        object_id, before, after, outcome, reason
    FROM audit_log
    WHERE (%(user)s::text IS NULL OR actor_user = %(user)s) AND (%(action)s::text IS NULL OR action = %(action)s)
        AND (%(outcome)s::text IS NULL OR outcome = %(outcome)s)
        AND (%(object_type)s::text IS NULL OR object_type = %(object_type)s)
        AND (%(object_id)s::text IS NULL OR object_id = %(object_id)s)
        AND (%(since)s::timestamptz IS NULL OR at >= %(since)s)
        AND (%(before_id)s::bigint IS NULL OR id < %(before_id)s)
    ORDER BY id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows are wanted; every field that is set must match. `before_id` is where the last page ended."""

    user: str | None = None
    action: str | None = None
    outcome: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    before_id: int | None = None


def list_audit(connection: Connection, wanted: AuditFilter, limit: int) -> list[dict[str, Any]]:
    """Return the newest rows that match."""
    return fetch_rows(connection, _LIST, {**asdict(wanted), "limit": limit})


def list_actions(connection: Connection) -> set[str]:
    """Return the actions of which there is a row."""
    return {action for (action,) in connection.execute("SELECT DISTINCT action FROM audit_log")}
