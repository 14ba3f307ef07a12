"""Writes the table `audit_log`, in the transaction of what it records. Rows are only added."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.types.json import Jsonb

from streamworkers.actor import Actor
from streamworkers.database import Connection

Outcome = Literal["ok", "rejected", "failed"]
_HIDDEN = "…"
_SECRET_NAME = re.compile(r"(?i)passw|secret|token|api[_-]?key|authorization|credential")
_MOST_REASON = 2_000
_INSERT = """
    INSERT INTO audit_log (actor_kind, actor_user, actor_token, address, request_id, action, object_type, object_id,
                           before, after, outcome, reason)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class AuditChange:
    """What was done, or tried, to which thing; `before` and `after` are those of its fields that matter."""

    action: str
    object_type: str
    object_id: str
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


def record_change(
    connection: Connection, actor: Actor, change: AuditChange, outcome: Outcome = "ok", reason: str | None = None
) -> None:
    """Add a row about a change, in the caller's transaction, without the values of fields whose names mean a secret."""
    connection.execute(
        _INSERT,
        (
            actor.kind,
            actor.person,
            actor.token,
            actor.address,
            actor.request_id,
            change.action,
            change.object_type,
            change.object_id[:200],
            _to_json(change.before),
            _to_json(change.after),
            outcome,
            None if reason is None else reason[:_MOST_REASON],
        ),
    )


def hide_secret_fields(value: Any) -> Any:
    """Return a JSON value without the values of fields whose names mean a secret."""
    if isinstance(value, Mapping):
        return {
            name: _HIDDEN if _SECRET_NAME.search(str(name)) and each is not None else hide_secret_fields(each)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [hide_secret_fields(each) for each in value]
    return value


def _to_json(fields: Mapping[str, Any] | None) -> Jsonb | None:
    return None if fields is None else Jsonb(hide_secret_fields(fields))
