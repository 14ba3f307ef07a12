"""The newest recorded state of each component: what the job `health_check` found last."""

from datetime import datetime
from typing import Any, NamedTuple

from streamworkers.database import Connection, fetch_rows

_NEWEST = """
SELECT component, status, message, checked_at FROM (
    SELECT DISTINCT ON (component) component, status, message, checked_at FROM health_checks
    ORDER BY component, checked_at DESC) newest
ORDER BY array_position(ARRAY['critical', 'degraded', 'ok'], status), component"""

_CHANGES = """
SELECT status, message, at FROM (
    SELECT id, status, message, checked_at AS at, lag(status) OVER (ORDER BY checked_at, id) AS before FROM (
        SELECT * FROM health_checks WHERE component = %s ORDER BY checked_at DESC, id DESC LIMIT 1000) newest) seen
WHERE status IS DISTINCT FROM before ORDER BY at DESC, id DESC LIMIT %s"""


class RecordedHealth(NamedTuple):
    """A component's status when it was last checked."""

    component: str
    status: str
    message: str
    checked_at: datetime


def read_recorded_health(connection: Connection) -> list[RecordedHealth]:
    """The newest record of each component, the worst first."""
    return [RecordedHealth(*row) for row in connection.execute(_NEWEST)]


def read_component_changes(connection: Connection, component: str, limit: int) -> list[dict[str, Any]]:
    """When the state of a component changed, as far as its last 1,000 checks tell, the newest first."""
    return fetch_rows(connection, _CHANGES, (component, limit))
