"""The job `health_check`: looks at everything the pool stands on, and says how it is."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar, Literal

from psycopg.types.json import Jsonb
from pydantic import Field

from streamworkers.database import Connection
from streamworkers.diagnosis import reports as health_reports
from streamworkers.engine import ledger
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.engine.redis.inspector import Inspector
from streamworkers.engine.redis.keys import MONITORING_CHANNEL
from streamworkers.errors import StreamworkersError
from streamworkers.market.bars.read import read_newest_of_all
from streamworkers.market.calendar.timeframes import TIMEFRAMES

Status = Literal["ok", "degraded", "critical"]
SCHEMA_VERSION = 1
_ORDER: tuple[Status, ...] = ("ok", "degraded", "critical")


class HealthParameters(JobParameters):
    """From where on something is degraded.

    Rates are shares of what ended in the last `window_hours`. The newest daily bar may be `data_days` calendar days
    old: four are a weekend with a holiday.
    """

    window_hours: float = Field(24.0, gt=0, le=24 * 90)
    error_rate: float = Field(0.05, ge=0, le=1)
    queue_age_seconds: float = Field(900.0, gt=0)
    connection_share: float = Field(0.8, gt=0, le=1)
    memory_share: float = Field(0.8, gt=0, le=1)
    outbox_seconds: float = Field(60.0, gt=0)
    data_days: int = Field(4, ge=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """How one component is: a sentence for people, and figures."""

    component: str
    status: Status
    message: str
    detail: dict[str, Any] = field(default_factory=dict)


def worst(findings: Iterable[Finding]) -> Status:
    """The status of the whole: that of its worst part."""
    return max((finding.status for finding in findings), key=_ORDER.index, default="ok")


def save_findings(connection: Connection, findings: Sequence[Finding], run_id: int | None) -> None:
    """Add findings to the history in `health_checks`."""
    connection.cursor().executemany(
        "INSERT INTO health_checks (component, status, message, detail, run_id) VALUES (%s, %s, %s, %s, %s)",
        [(found.component, found.status, found.message, Jsonb(found.detail), run_id) for found in findings],
    )


def monitoring_event(findings: Sequence[Finding], run_id: int | None, moment: datetime) -> Event:
    """The message on `tickstock:monitoring` that says what was found."""
    return Event(
        MONITORING_CHANNEL,
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "health",
            "status": worst(findings),
            "checked_at": moment.isoformat(),
            "run_id": run_id,
            "components": [asdict(found) for found in findings],
        },
    )


def examine(connection: Connection, inspector: Inspector, rules: HealthParameters, now: datetime) -> list[Finding]:
    """Look at every component; one that cannot be looked at is critical, and the others are looked at all the same."""
    looks: dict[str, Callable[[], Finding]] = {
        "redis": lambda: _redis(inspector, rules),
        "postgresql": lambda: _postgresql(connection, rules),
        "workers": lambda: _workers(inspector),
        "queues": lambda: _queues(connection, inspector, rules),
        "executions": lambda: _executions(connection, rules, now),
        "schedules": lambda: _schedules(connection, rules, now),
        "outbox": lambda: _outbox(connection, rules),
        "data": lambda: _data(connection, rules, now),
    }
    findings = []
    for component, look in looks.items():
        try:
            findings.append(look())
        except StreamworkersError as error:
            findings.append(Finding(component, "critical", str(error)))
    return findings


class HealthCheck(Job[HealthParameters]):
    """One item, `system`."""

    name: ClassVar[str] = "health_check"
    queue: ClassVar[str] = "maintenance"
    batch_size: ClassVar[int] = 1
    parameters: ClassVar[type[JobParameters]] = HealthParameters
    parts: ClassVar[tuple[str, ...]] = ("system",)

    def execute(self, items: Sequence[Item], context: Context[HealthParameters]) -> Iterator[Outcome]:
        """Examine the system."""
        for item in items:
            now = datetime.now(UTC)
            findings = examine(context.connection, context.inspector, context.parameters, now)
            status = {found.component: found.status for found in findings}
            yield Completed(item, (now, findings), {"status": worst(findings), "components": status})

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Keep the findings, and publish them."""
        for outcome in completed:
            now, findings = outcome.value
            save_findings(connection, findings, outcome.item.run_id)
            yield monitoring_event(findings, outcome.item.run_id, now)


def _redis(inspector: Inspector, rules: HealthParameters) -> Finding:
    state = inspector.read_server_state()
    limit = state.get("maxmemory") or 0
    share = state["used_memory"] / limit if limit else 0.0
    if state.get("aof_last_write_status", "ok") != "ok":
        return Finding("redis", "critical", "Redis cannot write its append-only file", state)
    if share > rules.memory_share:
        return Finding("redis", "degraded", f"Redis uses {share:.0%} of its memory limit", state)
    if limit and state.get("maxmemory_policy") != "noeviction":
        policy = state.get("maxmemory_policy")
        return Finding("redis", "degraded", f"maxmemory-policy {policy} may evict queues: set noeviction", state)
    return Finding("redis", "ok", f"Redis answers and uses {state['used_memory'] / 2**20:.0f} MiB", state)


def _postgresql(connection: Connection, rules: HealthParameters) -> Finding:
    detail = health_reports.database_state(connection)
    used, most = detail["connections"], detail["max_connections"]
    status: Status = "degraded" if used > rules.connection_share * most else "ok"
    size = detail["size_bytes"] / 2**20
    return Finding("postgresql", status, f"{used} of {most} connections, {size:,.0f} MiB", detail)


def _workers(inspector: Inspector) -> Finding:
    supervisors = inspector.read_heartbeats().values()
    processes = sum(len(supervisor.workers) for supervisor in supervisors)
    read = {queue for supervisor in supervisors for queue in supervisor.queues}
    unread = sorted(
        queue
        for queue in inspector.list_queues() - read
        if (backlog := inspector.read_backlog(queue)).waiting + backlog.delayed
    )
    detail = {"supervisors": len(supervisors), "processes": processes, "queues_without_worker": unread}
    if not processes:
        return Finding("workers", "critical", "no worker is alive", detail)
    if unread:
        return Finding("workers", "critical", f"nobody reads the queues {', '.join(unread)}, which have items", detail)
    return Finding("workers", "ok", f"{processes} worker processes of {len(supervisors)} supervisors", detail)


def _queues(connection: Connection, inspector: Inspector, rules: HealthParameters) -> Finding:
    dead = ledger_reports.dead_by_queue(connection)
    detail: dict[str, Any] = {}
    for queue in sorted(inspector.list_queues() | dead.keys()):
        backlog = inspector.read_backlog(queue)
        detail[queue] = {
            "waiting": backlog.waiting,
            "pending": backlog.pending,
            "delayed": backlog.delayed,
            "dead": dead.get(queue, 0),
            "oldest_seconds": round(inspector.read_oldest_age(queue), 3),
        }
    late = [queue for queue, figures in detail.items() if figures["oldest_seconds"] > rules.queue_age_seconds]
    if late:
        ages = ", ".join(f"{queue} {detail[queue]['oldest_seconds']:,.0f} s" for queue in late)
        return Finding("queues", "degraded", f"items have waited for long: {ages}", detail)
    waiting = sum(figures["waiting"] for figures in detail.values())
    return Finding("queues", "ok", f"{waiting} items wait in {len(detail)} queues", detail)


def _executions(connection: Connection, rules: HealthParameters, now: datetime) -> Finding:
    rows = ledger_reports.run_statistics(connection, now - timedelta(hours=rules.window_hours))
    runs, succeeded = sum(row["runs"] for row in rows), sum(row["succeeded"] for row in rows)
    failed = sum(row["items_failed"] or 0 for row in rows)
    items = failed + sum(row["items_completed"] or 0 for row in rows)
    rate = failed / items if items else 0.0
    detail = {
        "window_hours": rules.window_hours,
        "runs": runs,
        "runs_succeeded": succeeded,
        "items": items,
        "items_failed": failed,
        "items_per_hour": round(items / rules.window_hours, 1),
        "error_rate": round(rate, 6),
    }
    message = f"{succeeded} of {runs} runs and {items - failed} of {items} items succeeded"
    return Finding("executions", "degraded" if rate > rules.error_rate else "ok", message, detail)


def _schedules(connection: Connection, rules: HealthParameters, now: datetime) -> Finding:
    detail = health_reports.schedule_state(connection, now - timedelta(hours=rules.window_hours))
    problems: Mapping[str, str] = detail["problems"]
    if problems:
        name, problem = next(iter(problems.items()))
        return Finding("schedules", "critical", f"schedule {name}: {problem}", detail)
    bad = detail["missed"] + detail["rejected"]
    if bad or detail["overdue"]:
        message = f"{detail['missed']} ticks missed, {detail['rejected']} rejected, {detail['overdue']} overdue"
        return Finding("schedules", "degraded", message, detail)
    return Finding("schedules", "ok", f"{detail['started']} ticks started a run", detail)


def _outbox(connection: Connection, rules: HealthParameters) -> Finding:
    late = ledger.count_late_events(connection, rules.outbox_seconds)
    message = f"{late} events have waited for more than {rules.outbox_seconds:g} s" if late else "events are on time"
    return Finding("outbox", "degraded" if late else "ok", message, {"late": late})


def _data(connection: Connection, rules: HealthParameters, now: datetime) -> Finding:
    newest = {name: read_newest_of_all(connection, timeframe) for name, timeframe in TIMEFRAMES.items()}
    detail = {name: moment.isoformat() for name, moment in newest.items() if moment is not None}
    last = newest["day"]
    if last is None:
        return Finding("data", "degraded", "there are no daily bars", detail)
    assert isinstance(last, date)
    age = (now.date() - last).days
    status: Status = "degraded" if age > rules.data_days else "ok"
    return Finding("data", status, f"the newest daily bar is of {last}, {age} days ago", detail | {"age_days": age})
