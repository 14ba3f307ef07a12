"""Routes about the processes of the pool: its workers, and all others."""

from datetime import datetime
from typing import Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.engine.redis.lanes import list_queues_of


class SupervisorView(msgspec.Struct):
    """A supervisor that is alive: its worker processes, how many of them are busy, and the queues that they read."""

    id: str
    host: str
    workers: int
    busy: int
    queues: list[str]


class ProcessView(msgspec.Struct):
    """A process of any kind, how long ago it was seen, by PostgreSQL's clock, and what it does."""

    id: str
    kind: str
    host: str
    pid: int
    version: str
    started_at: datetime
    unseen_seconds: float
    is_silent: bool
    doing: dict[str, Any]


class WorkerList(msgspec.Struct):
    """Supervisors with their workers, by their heartbeats in Redis; all processes, by those in PostgreSQL."""

    supervisors: list[SupervisorView]
    processes: list[ProcessView]


def _list_workers(call: ApiCall) -> ApiAnswer:
    """List supervisors with their workers, and all processes with their heartbeats."""
    supervisors = [
        {
            "id": name,
            "host": found.host,
            "workers": len(found.workers),
            "busy": sum(worker.busy for worker in found.workers),
            "queues": list_queues_of(found.queues),
        }
        for name, found in sorted(call.service.streams.inspector.read_heartbeats().items())
    ]
    names = ("id", "kind", "host", "pid", "version", "started_at", "unseen_seconds", "is_silent", "doing")
    processes = [{name: getattr(each, name) for name in names} for each in read_processes(call.connection)]
    return ApiAnswer({"supervisors": supervisors, "processes": processes})


POOL_OPERATIONS = (
    Operation("GET", "/workers", "List workers and processes", _list_workers, WorkerList, object_type="process"),
)
