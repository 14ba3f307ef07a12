"""Routes about the health of the system, with the fields of the replaced systems."""

from datetime import datetime
from typing import Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.diagnosing import Diagnosis
from streamworkers.api.operation import Operation
from streamworkers.api.problem import NotFound
from streamworkers.diagnosis.components import COMPONENTS, ComponentStatus, find_worst
from streamworkers.diagnosis.recorded_health import read_component_changes
from streamworkers.engine.ledger.processes import ProcessRecord, read_process_states, read_processes

_MOST_CHANGES = 100


class ComponentView(msgspec.Struct):
    """A component: `ok`, `degraded` or `critical`, a sentence, and figures."""

    name: str
    status: str
    message: str
    detail: dict[str, Any]


class HealthView(msgspec.Struct):
    """The state of the system: that of its worst component."""

    status: str
    timestamp: datetime
    components: dict[str, ComponentView]
    metrics: dict[str, float]


class StatsView(msgspec.Struct):
    """Counts of schedules, of ended runs by job, and of errors, in a window of so many hours."""

    timestamp: datetime
    window_hours: float
    job_counts: dict[str, int]
    execution_stats: list[dict[str, Any]]
    error_stats: dict[str, Any]


class SystemList(msgspec.Struct):
    """Components, and processes by their ids, with their states."""

    timestamp: datetime
    systems: list[ComponentView]


class StateChange(msgspec.Struct):
    """A state that a component or a process had from a moment on."""

    status: str
    message: str
    at: datetime


class SystemView(msgspec.Struct):
    """A component or a process with its state now, and when its state changed, the newest first.

    States are `ok`, `degraded` and `critical`. In the history of a process, one that was not seen is `silent`; one that
    is gone is `ended`.
    """

    name: str
    status: str
    message: str
    detail: dict[str, Any]
    history: list[StateChange]


def _diagnose(call: ApiCall) -> Diagnosis:
    service = call.service
    return service.diagnoser.diagnose(call.connection, service.streams, service.settings)


def _health(call: ApiCall) -> ApiAnswer:
    """Show the state of the system by component, as `streamworkers status` does."""
    found = _diagnose(call)
    return ApiAnswer(
        {
            "status": find_worst(found.components),
            "timestamp": found.at,
            "components": {each.component: _show(each) for each in found.components},
            "metrics": {
                "window_hours": found.window_hours,
                "runs": sum(row["runs"] for row in found.statistics),
                "items": found.items,
                "items_failed": found.items_failed,
                "error_rate": _rate(found),
                "dead_items": sum(found.dead_by_queue.values()),
            },
        }
    )


def _health_v1(call: ApiCall) -> ApiAnswer:
    """Show the state of the system by component, at the path of the replaced systems."""
    return _health(call)


def _stats(call: ApiCall) -> ApiAnswer:
    """Show counts of schedules, ended runs and errors, of the same snapshot as the state of the system."""
    found = _diagnose(call)
    errors = {
        "items_failed": found.items_failed,
        "error_rate": _rate(found),
        "dead_by_queue": found.dead_by_queue,
        "recent_failures": [
            {name: row[name] for name in ("run_id", "seq", "job", "symbol", "attempt", "error", "finished_at")}
            for row in found.failures
        ],
    }
    return ApiAnswer(
        {
            "timestamp": found.at,
            "window_hours": found.window_hours,
            "job_counts": found.schedules,
            "execution_stats": list(found.statistics),
            "error_stats": errors,
        }
    )


def _systems(call: ApiCall) -> ApiAnswer:
    """List all components and all processes with their state."""
    found = _diagnose(call)
    return ApiAnswer({"timestamp": found.at, "systems": _list_systems(call, found)})


def _unhealthy(call: ApiCall) -> ApiAnswer:
    """List the components and processes that are degraded or critical."""
    found = _diagnose(call)
    wrong = [each for each in _list_systems(call, found) if each["status"] != "ok"]
    return ApiAnswer({"timestamp": found.at, "systems": wrong})


def _system(call: ApiCall) -> ApiAnswer:
    """Show a component, or a process by its id, also one that has ended, with the changes of its state."""
    name = call.path["name"]
    found = next((each for each in _list_systems(call, _diagnose(call)) if each["name"] == name), None)
    if found is not None and name in COMPONENTS:
        return ApiAnswer(found | {"history": read_component_changes(call.connection, name, _MOST_CHANGES)})
    history = read_process_states(call.connection, name, _MOST_CHANGES)
    if found is None and not history:
        raise NotFound("component or process", name)
    ended = {"name": name, "status": "ended", "message": history[0]["message"], "detail": {}} if history else {}
    return ApiAnswer((found or ended) | {"history": history})


def _list_systems(call: ApiCall, found: Diagnosis) -> list[dict[str, Any]]:
    processes = [_show_process(each) for each in read_processes(call.connection)]
    return [*map(_show, found.components), *processes]


def _show_process(process: ProcessRecord) -> dict[str, Any]:
    """A process as a component; how long it was not seen is computed when it is read."""
    status, message = {
        "ok": ("ok", "it works"),
        "degraded": ("degraded", "it works with faults: `history` has them"),
    }.get(process.state, ("ok", "it runs"))
    if process.is_silent:
        status, message = "critical", f"it was last seen {process.unseen_seconds:.0f} s ago"
    names = ("kind", "host", "pid", "version", "started_at", "unseen_seconds", "doing")
    detail = {name: getattr(process, name) for name in names}
    return {"name": process.id, "status": status, "message": message, "detail": detail}


def _show(component: ComponentStatus) -> dict[str, Any]:
    shown = {"name": component.component, "status": component.status, "message": component.message}
    return shown | {"detail": component.detail}


def _rate(found: Diagnosis) -> float:
    return round(found.items_failed / found.items, 6) if found.items else 0.0


HEALTH_OPERATIONS = (
    Operation("GET", "/health", "Show the state of the system", _health, HealthView, is_at_root=True),
    Operation("GET", "/stats", "Show counts", _stats, StatsView, is_at_root=True),
    Operation("GET", "/health", "Show the state of the system", _health_v1, HealthView),
    Operation("GET", "/health/systems", "List components and processes", _systems, SystemList),
    Operation("GET", "/health/unhealthy", "List what is not well", _unhealthy, SystemList),
    Operation("GET", "/health/system/{name}", "Show a component or a process", _system, SystemView, problems=(404,)),
)
