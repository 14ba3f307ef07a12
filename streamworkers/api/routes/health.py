"""Routes about the health of the system, with the fields of the replaced systems."""

from datetime import datetime
from typing import Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.diagnosing import Diagnosis
from streamworkers.api.operation import Operation
from streamworkers.api.problem import NotFound
from streamworkers.diagnosis.components import ComponentStatus, find_worst


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
    """Components with their states, by name."""

    timestamp: datetime
    systems: list[ComponentView]


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
    """List all components with their state."""
    found = _diagnose(call)
    return ApiAnswer({"timestamp": found.at, "systems": [_show(each) for each in found.components]})


def _unhealthy(call: ApiCall) -> ApiAnswer:
    """List the components that are degraded or critical."""
    found = _diagnose(call)
    wrong = [_show(each) for each in found.components if each.status != "ok"]
    return ApiAnswer({"timestamp": found.at, "systems": wrong})


def _system(call: ApiCall) -> ApiAnswer:
    """Show one component with its state."""
    for each in _diagnose(call).components:
        if each.component == call.path["name"]:
            return ApiAnswer(_show(each))
    raise NotFound("component", call.path["name"])


def _show(component: ComponentStatus) -> dict[str, Any]:
    shown = {"name": component.component, "status": component.status, "message": component.message}
    return shown | {"detail": component.detail}


def _rate(found: Diagnosis) -> float:
    return round(found.items_failed / found.items, 6) if found.items else 0.0


HEALTH_OPERATIONS = (
    Operation("GET", "/health", "Show the state of the system", _health, HealthView, is_at_root=True),
    Operation("GET", "/stats", "Show counts", _stats, StatsView, is_at_root=True),
    Operation("GET", "/health", "Show the state of the system", _health_v1, HealthView),
    Operation("GET", "/health/systems", "List components", _systems, SystemList),
    Operation("GET", "/health/unhealthy", "List components that are not well", _unhealthy, SystemList),
    Operation("GET", "/health/system/{name}", "Show a component", _system, ComponentView, problems=(404,)),
)
