"""Routes that steer supervisors, and show what runs right now."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from streamworkers.admin.running import read_running
from streamworkers.admin.workers import list_supervisors, order_supervisor
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict, NotFound
from streamworkers.engine.ledger.orders import MOST_PROCESSES, MOST_REASON, OrderAction, list_orders

Reason = Annotated[str, msgspec.Meta(max_length=MOST_REASON)]
_MOST_ORDERS = 50


class WorkerOrderBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why it is ordered, for the audit log."""

    reason: Reason | None = None


class ResizeBody(msgspec.Struct, forbid_unknown_fields=True):
    """How many workers the supervisor is to have, and why."""

    processes: Annotated[int, msgspec.Meta(ge=1, le=MOST_PROCESSES)]
    reason: Reason | None = None


class RunningQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which items; every parameter that is given must match."""

    job: str | None = None
    run: int | None = None
    symbol: str | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class OrderView(msgspec.Struct):
    """An order to a supervisor: when it was taken and done, and with which outcome; null as long as it is open."""

    id: int
    process: str
    action: str
    processes: int | None
    ordered_by: str
    reason: str | None
    at: datetime
    taken_at: datetime | None
    done_at: datetime | None
    outcome: Literal["done", "replaced", "rejected", "gone"] | None
    message: str | None


class OrderList(msgspec.Struct):
    """The newest orders to a supervisor, the newest first."""

    orders: list[OrderView]


class RunningView(msgspec.Struct):
    """An item that a worker executes or has taken, since when, and how long the call with it may take."""

    place: Literal["executes", "taken", "orphaned"]
    run_id: int
    seq: int
    job: str
    symbol: str
    timeframe: str | None
    attempt: int
    queue: str
    priority: str
    worker: str
    since: datetime | None
    seconds: float | None
    limit_seconds: float | None


class RunningList(msgspec.Struct):
    """What runs right now, with the numbers of all that match, and the age of the oldest report in seconds."""

    executes: int
    taken: int
    orphaned: int
    unread: int
    report_seconds: float | None
    items: list[RunningView]


def _drain_workers(call: ApiCall) -> ApiAnswer:
    """Let the workers of a supervisor finish what they execute and end; it stays. The order is followed by its list."""
    return _order(call, "drain")


def _resume_workers(call: ApiCall) -> ApiAnswer:
    """Let a supervisor start workers again."""
    return _order(call, "resume")


def _stop_workers(call: ApiCall) -> ApiAnswer:
    """Drain a supervisor, and let its process end with exit code 0."""
    return _order(call, "stop")


def _resize_workers(call: ApiCall) -> ApiAnswer:
    """Change the number of workers of a supervisor; one that breaks the rules of its queues is rejected later."""
    return _order(call, "resize", call.body.processes)


def _order(call: ApiCall, action: OrderAction, processes: int | None = None) -> ApiAnswer:
    name = call.path["supervisor"]
    process = next((each for each in list_supervisors(call.connection) if each.id == name), None)
    if process is None:
        raise NotFound("supervisor", name)
    placed = order_supervisor(
        call.connection, process, action, processes=processes, reason=call.body.reason, actor=call.caller.actor
    )
    if placed.order is None:
        raise Conflict(placed.text)
    return ApiAnswer({"orders": [asdict(each) for each in list_orders(call.connection, name, 1)]}, 202)


def _list_worker_orders(call: ApiCall) -> ApiAnswer:
    """List the newest orders to a supervisor, also to one that has ended."""
    orders = list_orders(call.connection, call.path["supervisor"], _MOST_ORDERS)
    return ApiAnswer({"orders": [asdict(each) for each in orders]})


def _list_running(call: ApiCall) -> ApiAnswer:
    """List the items that workers execute or have taken, those that are executed for the longest time first."""
    query: RunningQuery = call.query
    picture = read_running(call.service.streams)
    found = [
        item
        for item in picture.items
        if query.job in (None, item.job) and query.run in (None, item.run_id) and query.symbol in (None, item.symbol)
    ]
    places = Counter(item.place for item in found)
    counts = {place: places[place] for place in ("executes", "taken", "orphaned")}
    about = {"unread": picture.unread, "report_seconds": picture.report_seconds}
    return ApiAnswer({**counts, **about, "items": [asdict(item) for item in found[: query.limit]]})


def _steer(verb: str, summary: str, handler: Callable[[ApiCall], ApiAnswer], body: type = WorkerOrderBody) -> Operation:
    return Operation(
        *("POST", f"/workers/{{supervisor}}/{verb}", summary, handler, OrderList),
        scope="admin",
        body=body,
        status=202,
        action=f"worker.{verb}",
        object_type="process",
        problems=(400, 404, 409, 422),
        example={"processes": 4, "reason": "new disk"} if body is ResizeBody else {"reason": "new disk"},
    )


WORKER_OPERATIONS = (
    _steer("drain", "Drain a supervisor", _drain_workers),
    _steer("resume", "Let a drained supervisor work again", _resume_workers),
    _steer("stop", "Drain and end a supervisor", _stop_workers),
    _steer("resize", "Change the number of workers", _resize_workers, ResizeBody),
    Operation(
        *("GET", "/workers/{supervisor}/orders", "List orders to a supervisor", _list_worker_orders, OrderList),
        object_type="process",
    ),
    Operation(
        *("GET", "/running", "List what runs right now", _list_running, RunningList),
        query=RunningQuery,
        object_type="item",
    ),
)
