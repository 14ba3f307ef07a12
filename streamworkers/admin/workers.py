"""Orders to supervisors: drain, resume, stop, resize. Each is a row for the supervisor, and one in the audit log."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection
from streamworkers.engine.ledger.orders import (
    MOST_PROCESSES,
    MOST_REASON,
    OrderAction,
    ProcessOrder,
    list_orders,
    place_order,
    read_orders,
)
from streamworkers.engine.ledger.processes import ProcessRecord, read_process_states, read_processes
from streamworkers.errors import BadInputError, UnknownNameError

# The supervisor takes an order at once, but not while it is busy starting workers, or PostgreSQL.
TAKE_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 86_400.0
_PAUSE_SECONDS = 0.2
_IN_ORDER = "it ended in order"
_STATE_OF_OLD = "running"  # a release that takes no orders tells none

Answer = Literal["yes", "no", "pending", "unknown"]


@dataclass(frozen=True, slots=True)
class SupervisorOrder:
    """An order to a supervisor, and whether what it asks for has happened.

    `pending` means that the supervisor does it, `unknown` that nobody can say; `order` is None if it was not placed.
    """

    supervisor: str
    action: OrderAction
    order: int | None
    answer: Answer
    text: str


def list_supervisors(connection: Connection) -> list[ProcessRecord]:
    """Return the supervisors that run or went silent, the oldest first."""
    return [process for process in read_processes(connection) if process.kind == "supervisor"]


def require_supervisor(supervisors: Sequence[ProcessRecord], name: str) -> ProcessRecord:
    """Return the supervisor of this id. Raises UnknownNameError, with the nearest, if there is none."""
    for process in supervisors:
        if process.id == name:
            return process
    raise UnknownNameError("supervisor", name, (process.id for process in supervisors))


def choose_readers(supervisors: Sequence[ProcessRecord], queue: str) -> list[ProcessRecord]:
    """Return the supervisors that read a queue, or would. Raises UnknownNameError if none does."""
    found = [process for process in supervisors if queue in process.doing.get("queues", ())]
    if not found:
        known = {name for process in supervisors for name in process.doing.get("queues", ())}
        raise UnknownNameError("queue of a supervisor", queue, known)
    return found


def name_state(process: ProcessRecord) -> str:
    """What a supervisor does: running, draining, drained, stopping; silent if it has not been seen."""
    return "silent" if process.is_silent else str(process.doing.get("mode", _STATE_OF_OLD))


def order_supervisor(
    connection: Connection,
    process: ProcessRecord,
    action: OrderAction,
    *,
    processes: int | None = None,
    reason: str | None = None,
    actor: Actor = LOCAL,
) -> SupervisorOrder:
    """Order a supervisor to do something; what it does now is not waited for.

    Raises BadInputError for a number of processes or a reason that breaks a rule, and UnknownNameError if it has ended.
    """
    if processes is not None and not 1 <= processes <= MOST_PROCESSES:
        raise BadInputError(f"{processes} processes is not between 1 and {MOST_PROCESSES}")
    if reason is not None and len(reason) > MOST_REASON:
        raise BadInputError(f"a reason of {len(reason)} characters exceeds {MOST_REASON}")
    if "mode" not in process.doing:
        text = f"release {process.version} takes no orders: send SIGTERM to process {process.pid} on {process.host}"
        return SupervisorOrder(process.id, action, None, "no", text)
    with connection.transaction():
        order_id = place_order(connection, process.id, action, processes, actor.person, reason)
        if order_id is None:
            raise UnknownNameError("supervisor", process.id, (each.id for each in list_supervisors(connection)))
        before = {"state": name_state(process), "processes": process.doing.get("wanted")}
        after = {"order": order_id} | ({} if processes is None else {"processes": processes})
        change = AuditChange(f"worker.{action}", "process", process.id, before, after)
        record_change(connection, actor, change, reason=reason)
    return SupervisorOrder(process.id, action, order_id, "pending", "ordered")


def wait_for_orders(
    connection: Connection,
    placed: Sequence[SupervisorOrder],
    seconds: float | None = None,
) -> list[SupervisorOrder]:
    """Return what came of orders: when all have happened or cannot, or after so many seconds.

    What has not happened within `seconds` is a `no`; without them, nothing is waited for but that orders are taken.
    """
    deadline = time.monotonic() + (TAKE_SECONDS if seconds is None else seconds)
    while True:
        answers = look_at_orders(connection, placed)
        left = deadline - time.monotonic()
        if left <= 0 or all(each.answer in ("yes", "no") for each in answers):
            break
        time.sleep(min(left, _PAUSE_SECONDS))
    if seconds is None:
        return answers
    late = f"not within {seconds:g} s"
    return [
        replace(each, answer="no", text=f"{late}: {each.text}") if each.answer == "pending" else each
        for each in answers
    ]


def look_at_orders(connection: Connection, placed: Sequence[SupervisorOrder]) -> list[SupervisorOrder]:
    """Return what has come of orders by now."""
    orders = {each.id: each for each in read_orders(connection, [each.order for each in placed if each.order])}
    processes = {process.id: process for process in list_supervisors(connection)}
    return [_look(connection, each, orders, processes) for each in placed]


def describe_newest_order(connection: Connection, process: str) -> str:
    """The newest order for a supervisor that took effect or is to, in words; '' without one."""
    for order in list_orders(connection, process, 20):
        if order.outcome in (None, "done"):
            size = "" if order.processes is None else f" to {order.processes}"
            why = f": {order.reason}" if order.reason else ""
            return f"{order.action}{size} by {order.ordered_by}{why}"
    return ""


def _look(
    connection: Connection,
    placed: SupervisorOrder,
    orders: Mapping[int, ProcessOrder],
    processes: Mapping[str, ProcessRecord],
) -> SupervisorOrder:
    order = orders.get(placed.order) if placed.order is not None else None
    if order is None:
        return placed
    if order.outcome == "gone" or (order.outcome is None and order.process not in processes):
        answer, text = _judge_gone(connection, order)
    elif order.outcome is not None:
        answer, text = _judge_closed(order, processes.get(order.process))
    else:
        answer, text = _judge_open(order, processes[order.process])
    return SupervisorOrder(placed.supervisor, placed.action, placed.order, answer, text)


def _judge_gone(connection: Connection, order: ProcessOrder) -> tuple[Answer, str]:
    """Judge an order whose supervisor has ended."""
    last = read_process_states(connection, order.process, 1)
    why = str(last[0]["message"]) if last and last[0]["status"] == "ended" else "its row is gone"
    if order.action == "stop" and why == _IN_ORDER:
        return "yes", "stopped"
    return "no", f"the supervisor is gone: {why}"


def _judge_closed(order: ProcessOrder, process: ProcessRecord | None) -> tuple[Answer, str]:
    """Judge an order that its supervisor, or a later order, has closed."""
    if order.outcome == "replaced":
        return "no", "a later order replaced it"
    if order.outcome == "rejected":
        return "no", f"rejected: {order.message}"
    doing: dict[str, Any] = {} if process is None else process.doing
    ready = f"{doing.get('ready', 0)} of {doing.get('wanted', 0)} workers are ready"
    texts = {"drain": "drained: no worker is left", "stop": "stopped", "resume": f"resumed: {ready}"}
    return "yes", texts.get(order.action, f"resized to {order.processes}: {ready}")


def _judge_open(order: ProcessOrder, process: ProcessRecord) -> tuple[Answer, str]:
    """Judge an order that has not happened yet."""
    seen = f"last seen {process.unseen_seconds:.0f} s ago"
    if order.taken_at is None:
        return "unknown", f"the supervisor has not taken the order, {seen}"
    if process.is_silent:
        return "unknown", f"the supervisor took the order and is silent, {seen}"
    doing = process.doing
    if order.action in ("drain", "stop"):
        return "pending", f"{doing.get('busy', 0)} workers finish their batches"
    return "pending", f"{doing.get('ready', 0)} of {doing.get('wanted', 0)} workers are ready"
