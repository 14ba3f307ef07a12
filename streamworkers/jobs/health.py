"""The job `health_check`: runs the cheap checks, keeps the state of every component, and publishes it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import ClassVar

from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.diagnosis.components import check_components, find_worst, make_monitoring_event, save_statuses
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.diagnosis.thresholds import Thresholds
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import installed_jobs


class HealthCheck(Job[Thresholds]):
    """Checks the pool as `streamworkers doctor` does, and keeps what it finds; its only item is `system`."""

    name: ClassVar[str] = "health_check"
    queue: ClassVar[str] = "maintenance"
    batch_size: ClassVar[int] = 1
    parameters: ClassVar[type[JobParameters]] = Thresholds
    parts: ClassVar[tuple[str, ...]] = ("system",)

    def execute(self, items: Sequence[Item], context: Context[Thresholds]) -> Iterator[Outcome]:
        """Run the cheap checks and return the state of every component."""
        for item in items:
            now = datetime.now(UTC)
            streams = Streams(context.inspector.client)
            snapshot = Snapshot(context.connection, streams, installed_jobs(), load_settings(), context.parameters, now)
            components, _ = check_components(snapshot)
            status = {each.component: each.status for each in components}
            yield Completed(item, (now, components), {"status": find_worst(components), "components": status})

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Keep the state of every component, and publish it."""
        for outcome in completed:
            now, components = outcome.value
            save_statuses(connection, components, outcome.item.run_id)
            yield make_monitoring_event(components, outcome.item.run_id, now)
