"""The system by component: the findings of its cheap checks as one status, a sentence and figures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.diagnosis.checks import CHECKS
from streamworkers.diagnosis.data_checks import age_of_newest_day
from streamworkers.diagnosis.finding import ERROR, NOTE, SEVERITIES, WARNING, Finding
from streamworkers.diagnosis.run_checks import count_ended_items, describe_executions
from streamworkers.diagnosis.snapshot import Snapshot
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import MONITORING_CHANNEL
from streamworkers.engine.redis.lanes import list_queues_of
from streamworkers.errors import StreamworkersError
from streamworkers.faults import describe as describe_error

Status = Literal["ok", "degraded", "critical"]
SCHEMA_VERSION = 1
_ORDER: tuple[Status, ...] = ("ok", "degraded", "critical")
_STATUS: Mapping[str, Status] = {NOTE: "ok", WARNING: "degraded", ERROR: "critical"}


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """The state of one component: a row of `health_checks` and a part of the message on `tickstock:monitoring`."""

    component: str
    status: Status
    message: str
    detail: dict[str, Any] = field(default_factory=dict)


def find_worst(components: Iterable[ComponentStatus]) -> Status:
    """Return the status of the worst component."""
    return max((component.status for component in components), key=_ORDER.index, default="ok")


def check_components(snapshot: Snapshot) -> tuple[list[ComponentStatus], list[Finding]]:
    """Run the cheap checks. A component that cannot be read is critical, and the others are checked all the same."""
    statuses, findings = [], []
    for component, describe in _DESCRIBE.items():
        try:
            found = find_in_component(snapshot, component)
            message, detail = describe(snapshot)
        except StreamworkersError as error:
            statuses.append(ComponentStatus(component, "critical", str(error)))
            findings.append(Finding(component, str(error), check="unreadable", severity=ERROR))
            continue
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of a value that another program wrote
            text = f"{component} cannot be described: {describe_error(error)}"
            statuses.append(ComponentStatus(component, "critical", text))
            findings.append(Finding(component, text, check="unreadable", severity=ERROR))
            continue
        findings += found
        statuses.append(_summarize(component, found, message, detail))
    return statuses, findings


def find_in_component(snapshot: Snapshot, component: str) -> list[Finding]:
    """Return what the cheap checks of one component find."""
    checks = (check for check in CHECKS.values() if check.component == component and check.is_cheap)
    return [finding for check in checks for finding in check.find(snapshot)]


def save_statuses(connection: Connection, components: Sequence[ComponentStatus], run_id: int | None) -> None:
    """Add the state of components to the history in `health_checks`."""
    connection.cursor().executemany(
        "INSERT INTO health_checks (component, status, message, detail, run_id) VALUES (%s, %s, %s, %s, %s)",
        [(each.component, each.status, each.message, Jsonb(each.detail), run_id) for each in components],
    )


def make_monitoring_event(components: Sequence[ComponentStatus], run_id: int | None, moment: datetime) -> Event:
    """Return the message on `tickstock:monitoring` with the state of components."""
    return Event(
        MONITORING_CHANNEL,
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "health",
            "status": find_worst(components),
            "checked_at": moment.isoformat(),
            "run_id": run_id,
            "components": [
                {"component": each.component, "status": each.status, "message": each.message, "detail": each.detail}
                for each in components
            ],
        },
    )


def _summarize(component: str, findings: Sequence[Finding], message: str, detail: dict[str, Any]) -> ComponentStatus:
    wrong = [finding for finding in findings if finding.is_wrong]
    if not wrong:
        return ComponentStatus(component, "ok", message, detail)
    worst = min((finding.severity for finding in wrong), key=SEVERITIES.index)
    sentences = [
        finding.what if finding.where == component else f"{finding.where}: {finding.what}"
        for finding in wrong
        if finding.severity == worst
    ]
    return ComponentStatus(component, _STATUS[worst], "; ".join(sentences), detail)


def _describe_redis(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    state = snapshot.redis_state
    return f"Redis answers and uses {state['used_memory'] / 2**20:.0f} MiB", state


def _describe_postgresql(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    state = snapshot.database_state
    size = state["size_bytes"] / 2**20
    return f"{state['connections']} of {state['max_connections']} connections, {size:,.0f} MiB", state


def _describe_workers(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    supervisors, processes = len(snapshot.supervisors), snapshot.worker_count
    unread = list_queues_of(
        lane
        for lane, backlog in snapshot.backlogs.items()
        if backlog.waiting + backlog.delayed and lane not in snapshot.read_queues
    )
    detail = {"supervisors": supervisors, "processes": processes, "queues_without_worker": unread}
    return f"{processes} worker processes of {supervisors} supervisors", detail


def _describe_queues(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    detail: dict[str, Any] = {}
    for queue, age in snapshot.oldest_seconds.items():
        backlog = snapshot.sum_backlog(queue)
        detail[queue] = {
            "waiting": backlog.waiting,
            "pending": backlog.pending,
            "delayed": backlog.delayed,
            "dead": snapshot.dead_by_queue.get(queue, 0),
            "oldest_seconds": round(age, 3),
        }
    waiting = sum(figures["waiting"] for figures in detail.values())
    return f"{waiting} items wait in {len(detail)} queues", detail


def _describe_executions(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    failed, items = count_ended_items(snapshot)
    hours = snapshot.thresholds.window_hours
    detail = {
        "window_hours": hours,
        "runs": sum(row["runs"] for row in snapshot.run_statistics),
        "runs_succeeded": sum(row["succeeded"] for row in snapshot.run_statistics),
        "items": items,
        "items_failed": failed,
        "items_per_hour": round(items / hours, 1),
        "error_rate": round(failed / items if items else 0.0, 6),
    }
    return describe_executions(snapshot), detail


def _describe_schedules(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    state = snapshot.schedule_state
    return f"{state['started']} ticks started a run", state


def _describe_outbox(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    return "events are on time", {"late": snapshot.late_events}


def _describe_notifications(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    ages = {step: round(seconds, 1) for step, seconds in snapshot.notification_ages.items()}
    return "notifications are on time", {"oldest_seconds": ages}


def _describe_data(snapshot: Snapshot) -> tuple[str, dict[str, Any]]:
    detail = {name: moment.isoformat() for name, moment in snapshot.newest_bars.items() if moment is not None}
    age = age_of_newest_day(snapshot)
    if age is None:
        return "there are no daily bars", detail
    message = f"the newest daily bar is of {snapshot.newest_bars['day']}, {age} days ago"
    return message, detail | {"age_days": age}


_DESCRIBE: Mapping[str, Callable[[Snapshot], tuple[str, dict[str, Any]]]] = {
    "redis": _describe_redis,
    "postgresql": _describe_postgresql,
    "workers": _describe_workers,
    "queues": _describe_queues,
    "executions": _describe_executions,
    "schedules": _describe_schedules,
    "outbox": _describe_outbox,
    "notifications": _describe_notifications,
    "data": _describe_data,
}
COMPONENTS = tuple(_DESCRIBE)
