"""What checks look at: each fact is read when a check first asks for it, and shared by all checks of one look."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from streamworkers.alerts.store.blindness import BlindSeries, list_blind
from streamworkers.alerts.store.due import UndecidedSeries, list_given_up
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.diagnosis.postgres import read_database_state
from streamworkers.diagnosis.queue_entries import QueueEntries, read_queue_entries
from streamworkers.diagnosis.thresholds import Thresholds
from streamworkers.engine import ledger
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.ledger.pauses import QueuePause, read_pauses
from streamworkers.engine.ledger.processes import ProcessRecord, read_processes
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.inspector import Backlog, sum_backlogs
from streamworkers.engine.redis.lanes import lanes_of, list_queues_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.market.bars.read import read_newest_of_all
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.notifications.store.notifications import count_rejected
from streamworkers.notifications.store.standing import (
    RejectedEndpoint,
    TroubledDeliveries,
    list_rejected_endpoints,
    list_troubled,
    read_step_ages,
)
from streamworkers.schedules import reports as schedule_reports
from streamworkers.schedules.problems import find_problems
from streamworkers.schedules.store import list_paused

MOST_UNPREPARED = 20
MOST_STALE = 20
MOST_SERIES = 20
MOST_ENDPOINTS = 20


@dataclass(frozen=True)
class Snapshot:
    """One look at Redis and PostgreSQL.

    `relay` publishes the outbox when a fix needs it. `earlier` is the first of two looks: an item that either of them
    saw in Redis is not lost.
    """

    connection: Connection
    streams: Streams
    registry: Registry
    settings: Settings
    thresholds: Thresholds = field(default_factory=Thresholds)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    relay: OutboxRelay | None = None
    earlier: "Snapshot | None" = None

    @property
    def window_start(self) -> datetime:
        """The beginning of the period that rates and counts are of."""
        return self.now - timedelta(hours=self.thresholds.window_hours)

    @cached_property
    def redis_state(self) -> dict[str, Any]:
        """What Redis reports about its memory, persistence and load."""
        return self.streams.inspector.read_server_state()

    @cached_property
    def database_state(self) -> dict[str, Any]:
        """Connections, size and transactions of the database."""
        return read_database_state(self.connection)

    @cached_property
    def processes(self) -> list[ProcessRecord]:
        """Every supervisor and scheduler that PostgreSQL knows, silent ones too."""
        return read_processes(self.connection)

    @cached_property
    def supervisors(self) -> dict[str, SupervisorStatus]:
        """The heartbeat of every live supervisor, by its id."""
        return self.streams.inspector.read_heartbeats()

    @property
    def worker_count(self) -> int:
        """The number of worker processes of all live supervisors."""
        return sum(len(heartbeat.workers) for heartbeat in self.supervisors.values())

    @cached_property
    def read_queues(self) -> set[str]:
        """The lanes of queues that live supervisors read."""
        return {queue for heartbeat in self.supervisors.values() for queue in heartbeat.queues}

    @cached_property
    def served_queues(self) -> set[str]:
        """Queues with background services of live supervisors, also those that only drained ones would read."""
        drained = {queue for heartbeat in self.supervisors.values() for queue in heartbeat.drained_queues}
        return drained | self.read_queues

    @cached_property
    def backlogs(self) -> dict[str, Backlog]:
        """The entries of every lane of a queue that Redis has, by lane."""
        return {
            queue: self.streams.inspector.read_backlog(queue) for queue in sorted(self.streams.inspector.list_queues())
        }

    def sum_backlog(self, queue: str) -> Backlog:
        """Return the entries of a queue in all its lanes."""
        return sum_backlogs(self.backlogs[lane] for lane in lanes_of(queue) if lane in self.backlogs)

    @cached_property
    def dead_by_queue(self) -> dict[str, int]:
        """The dead items of ended runs, by queue."""
        return ledger_reports.count_dead_by_queue(self.connection)

    @cached_property
    def pauses(self) -> dict[str, QueuePause]:
        """The queues that are paused, by name."""
        return read_pauses(self.connection)

    @cached_property
    def oldest_seconds(self) -> dict[str, float]:
        """The age of the oldest entry of every queue that Redis or a dead item names."""
        queues = sorted({*list_queues_of(self.backlogs), *self.dead_by_queue})
        lanes = {queue: self.streams.inspector.read_lanes(lanes_of(queue)) for queue in queues}
        return {queue: max(age for _, age in found.values()) for queue, found in lanes.items()}

    @cached_property
    def run_statistics(self) -> list[dict[str, Any]]:
        """Ended runs of the window, by job."""
        return ledger_reports.read_run_statistics(self.connection, self.window_start)

    @cached_property
    def stale_runs(self) -> list[dict[str, Any]]:
        """Runs of the window with too many stale symbols, of runs about the same the newest."""
        return ledger_reports.list_stale_runs(self.connection, self.window_start, MOST_STALE)

    @cached_property
    def run_states(self) -> list[dict[str, Any]]:
        """Every run that is open or has open items. Expensive: it reads all items."""
        return ledger_reports.list_run_states(self.connection)

    @cached_property
    def unprepared_runs(self) -> list[dict[str, Any]]:
        """The oldest submitted runs that have waited for too long to be prepared."""
        return ledger_reports.list_unprepared(self.connection, self.thresholds.prepare_seconds, MOST_UNPREPARED)

    @cached_property
    def entries(self) -> dict[str, QueueEntries]:
        """What the entries of every lane of a queue belong to. Expensive: it reads all entries and all open items."""
        queues = (
            self.backlogs.keys()
            | set(self.registry.queues)
            | {row["queue"] for row in self.run_states if row["is_prepared"]}
        )
        earlier = self.earlier.entries if self.earlier else {}
        return {
            queue: read_queue_entries(
                self.connection,
                self.streams,
                self.settings,
                queue,
                earlier[queue].scans if queue in earlier else [],
            )
            for queue in sorted(queues)
        }

    @cached_property
    def schedule_state(self) -> dict[str, Any]:
        """Ticks of the window by state, overdue ticks, and what is wrong with enabled schedules, by their names."""
        problems = find_problems(self.connection, self.registry)
        paused = list_paused(self.connection)
        by_kind: dict[bool, dict[str, str]] = {True: {}, False: {}}
        for name, problem in sorted(problems.items()):
            if name not in paused:
                by_kind[problem.is_broken][name] = problem.text
        state = schedule_reports.schedule_state(self.connection, self.window_start)
        return {**state, "problems": by_kind[True], "waits_for_paused": by_kind[False]}

    @cached_property
    def late_events(self) -> int:
        """The number of events that have waited in the outbox for too long."""
        return ledger.count_late_events(self.connection, self.thresholds.outbox_seconds)

    @cached_property
    def notification_ages(self) -> dict[str, float]:
        """For how long the oldest has been due at each step from an event to a message."""
        return read_step_ages(self.connection)

    @cached_property
    def troubled_deliveries(self) -> list[TroubledDeliveries]:
        """Deliveries that are held, and those of the window that have died."""
        return list_troubled(self.connection, self.window_start)

    @cached_property
    def rejected_endpoints(self) -> list[RejectedEndpoint]:
        """Endpoints that their providers have switched off."""
        return list_rejected_endpoints(self.connection, MOST_ENDPOINTS)

    @cached_property
    def rejected_notifications(self) -> tuple[int, datetime | None]:
        """The events of the window of which no notification could be made, and when the oldest came."""
        return count_rejected(self.connection, self.window_start)

    @cached_property
    def newest_bars(self) -> dict[str, Any]:
        """The time of the newest bar of each timeframe; None if there is none."""
        return {
            name: read_newest_of_all(self.connection, timeframe, self.now) for name, timeframe in TIMEFRAMES.items()
        }

    @cached_property
    def blind_series(self) -> list[BlindSeries]:
        """The series that alerts are blind for, those that have been for longest first."""
        return list_blind(self.connection, MOST_SERIES)

    @cached_property
    def undecided_series(self) -> list[UndecidedSeries]:
        """The series with an alert that no run has decided, and of which none is started any more."""
        return list_given_up(self.connection, MOST_SERIES)
