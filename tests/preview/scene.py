"""What boards are drawn of: a database, a Prometheus, and a moment that counts as now."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from preview.spans import Span
from streamworkers.database import Connection
from watching.prometheus_server import Prometheus


def _own_range(_uid: str) -> Span | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The state of a system at one moment. `chosen` are variables with another value than Grafana would take."""

    name: str
    connection: Connection
    prometheus: Prometheus
    now: datetime
    scrape: timedelta
    chosen: Mapping[str, str] = field(default_factory=dict)
    span: Callable[[str], Span | None] = _own_range
