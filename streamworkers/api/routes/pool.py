"""Routes about the pool: its queues, its workers, and its other processes."""

from datetime import datetime
from typing import Any

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.engine.ledger import reports
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.engine.redis.inspector import sum_backlogs
from streamworkers.engine.redis.lanes import lanes_of, list_queues_of


class QueueView(msgspec.Struct):
    """A queue: its entries by where they are, its dead items, and the age of its oldest entry in seconds."""

    name: str
    waiting: int
    pending: int
    delayed: int
    dead: int
    oldest_seconds: float


class QueueList(msgspec.Struct):
    """The queues that have entries or dead items, by name."""

    queues: list[QueueView]


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


def _list_queues(call: ApiCall) -> ApiAnswer:
    """List the queues with their backlogs."""
    inspector = call.service.streams.inspector
    dead = reports.count_dead_by_queue(call.connection)
    rows = []
    for name in sorted({*list_queues_of(inspector.list_queues()), *dead}):
        lanes = inspector.read_lanes(lanes_of(name))
        backlog = sum_backlogs(each for each, _ in lanes.values())
        places = {"waiting": backlog.waiting, "pending": backlog.pending, "delayed": backlog.delayed}
        age = round(max(each for _, each in lanes.values()), 3)
        rows.append({"name": name, **places, "dead": dead.get(name, 0), "oldest_seconds": age})
    return ApiAnswer({"queues": rows})


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
    Operation("GET", "/queues", "List queues", _list_queues, QueueList, object_type="queue"),
    Operation("GET", "/workers", "List workers and processes", _list_workers, WorkerList, object_type="process"),
)
