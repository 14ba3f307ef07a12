"""The newest recorded state of each component: what the job `health_check` found last."""

from datetime import datetime
from typing import NamedTuple

from streamworkers.database import Connection

_NEWEST = """
SELECT component, status, message, checked_at FROM (
    SELECT DISTINCT ON (component) component, status, message, checked_at FROM health_checks
    ORDER BY component, checked_at DESC) newest
ORDER BY array_position(ARRAY['critical', 'degraded', 'ok'], status), component"""


class RecordedHealth(NamedTuple):
    """A component's status when it was last checked."""

    component: str
    status: str
    message: str
    checked_at: datetime


def read_recorded_health(connection: Connection) -> list[RecordedHealth]:
    """The newest record of each component, the worst first."""
    return [RecordedHealth(*row) for row in connection.execute(_NEWEST)]
