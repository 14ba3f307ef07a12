"""The tables `alerts` and `alert_versions`: read here, changed by `changes`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamworkers.alerts.document import Alert, build_alert
from streamworkers.database import Connection, fetch_rows, fetch_value
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.rules.catalogue import CatalogueVocabulary
from streamworkers.users import require_user

_VOCABULARY = CatalogueVocabulary()  # documents are stored in their canonical form, which names functions only

_FIND = """
SELECT a.id, a.user_id AS user, a.name, a.timeframe, a.universe, v.version, v.epoch, v.effective_from, v.rule_from,
       v.document, a.paused_at, a.paused_by, a.removed_at, a.created_at
FROM alerts a JOIN alert_versions v ON v.alert_id = a.id AND v.version = a.version"""

# A firing refers to the row of its alert, and so does not wait for who changes the alert, nor he for it.
_LOCK = "SELECT FROM alerts WHERE user_id = %s AND name = %s AND removed_at IS NULL FOR NO KEY UPDATE"


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert in its newest version; `document` is canonical, with name and timeframe."""

    id: int
    user: str
    name: str
    timeframe: str
    universe: str | None
    version: int
    epoch: int
    effective_from: datetime
    rule_from: datetime
    document: dict[str, Any]
    paused_at: datetime | None
    paused_by: str | None
    removed_at: datetime | None
    created_at: datetime

    @property
    def alert(self) -> Alert:
        """The document as a typed value, to be shown or changed: it does not say how many bars its rule needs."""
        return parse_stored(self.document)


@dataclass(frozen=True, slots=True)
class AlertVersion:
    """One version: in force for bars that close after `effective_from`, up to the next one."""

    alert_id: int
    version: int
    epoch: int
    effective_from: datetime
    rule_from: datetime
    is_active: bool
    document: dict[str, Any]


def parse_stored(document: dict[str, Any]) -> Alert:
    """The alert of a stored document, to be shown or changed."""
    return build_alert(document, _VOCABULARY)


def find_alert(connection: Connection, user: str, name: str, *, lock: bool = False) -> StoredAlert:
    """The alert of a user with this name; `lock` keeps it to the end of the transaction.

    Raises UnknownNameError for an unknown user or alert.
    """
    if lock:
        # A statement of its own: one that waits here and joins would not find the version that was added meanwhile.
        connection.execute(_LOCK, (user, name))
    statement = f"{_FIND} WHERE a.user_id = %s AND a.name = %s AND a.removed_at IS NULL"
    rows = fetch_rows(connection, statement, (user, name))
    if not rows:
        require_user(connection, user)
        known = connection.execute("SELECT name FROM alerts WHERE user_id = %s AND removed_at IS NULL", (user,))
        raise UnknownNameError("alert", name, (found for (found,) in known))
    return StoredAlert(**rows[0])


def find_alert_by_id(connection: Connection, user: str, number: int) -> StoredAlert:
    """The alert of a user with this id. Raises BadInputError, which says nothing about alerts of others."""
    rows = fetch_rows(
        connection, f"{_FIND} WHERE a.user_id = %s AND a.id = %s AND a.removed_at IS NULL", (user, number)
    )
    if not rows:
        raise BadInputError(f"user {user!r} has no alert {number}")
    return StoredAlert(**rows[0])


def find_alert_owner(connection: Connection, number: int) -> str | None:
    """The user whose alert has this id; None if there is none."""
    found: str | None = fetch_value(
        connection, "SELECT user_id FROM alerts WHERE id = %s AND removed_at IS NULL", (number,)
    )
    return found


def list_alerts(connection: Connection, user: str, names: Sequence[str] | None = None) -> list[StoredAlert]:
    """The alerts of a user that are not removed, by name."""
    statement = (
        f"{_FIND} WHERE a.user_id = %s AND a.removed_at IS NULL AND (%s::text[] IS NULL OR a.name = ANY(%s))"
        " ORDER BY a.name"
    )
    wanted = None if names is None else list(names)
    return [StoredAlert(**row) for row in fetch_rows(connection, statement, (user, wanted, wanted))]


def read_versions(connection: Connection, alert_ids: Sequence[int]) -> dict[int, list[AlertVersion]]:
    """All versions of alerts, oldest first."""
    rows = fetch_rows(
        connection,
        "SELECT alert_id, version, epoch, effective_from, rule_from, is_active, document FROM alert_versions"
        " WHERE alert_id = ANY(%s) ORDER BY alert_id, version",
        (list(alert_ids),),
    )
    found: dict[int, list[AlertVersion]] = {}
    for row in rows:
        found.setdefault(row["alert_id"], []).append(AlertVersion(**row))
    return found
