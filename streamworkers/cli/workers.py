"""`streamworkers workers`: which supervisors there are, what their workers do, and orders to them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import click
import msgspec

from streamworkers.admin.workers import (
    LONGEST_WAIT_SECONDS,
    TAKE_SECONDS,
    choose_readers,
    describe_newest_order,
    list_supervisors,
    order_supervisor,
    require_supervisor,
    wait_for_orders,
)
from streamworkers.cli.session import Seconds, Session, json_option, print_json, print_table
from streamworkers.cli.worker_rows import describe_supervisor, list_worker_rows, print_supervisor
from streamworkers.database import Connection
from streamworkers.engine.ledger.orders import MOST_PROCESSES, MOST_REASON, OrderAction
from streamworkers.engine.ledger.processes import ProcessRecord
from streamworkers.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
_EMPTY = "no supervisor runs: streamworkers worker"


def _order_options(function: F) -> F:
    for option in (
        json_option,
        click.option("--reason", metavar="TEXT", help=f"Why, for the audit log; at most {MOST_REASON} characters."),
        click.option(
            "--wait",
            type=Seconds(0, LONGEST_WAIT_SECONDS),
            help="Wait until it has happened, for so many seconds at most; exit code 1 if it has not."
            f"  [default: {TAKE_SECONDS:g}, and what is pending then is no error]",
        ),
    ):
        function = option(function)
    return function


def _choice_options(function: F) -> F:
    for option in (
        click.option("--queue", metavar="QUEUE", help="Every supervisor that reads this queue, with all its workers."),
        click.option("--all", "everyone", is_flag=True, help="Every supervisor."),
        click.argument("supervisors", nargs=-1, metavar="[SUPERVISOR]..."),
    ):
        function = option(function)
    return function


@click.group(short_help="Workers: list, show, drain, resume, stop, resize.")
def workers() -> None:
    """Workers: list supervisors, show their workers, drain, resume, stop and resize them."""


@workers.command("list", short_help="List the supervisors that run or went silent.")
@json_option
def list_workers(as_json: bool) -> None:
    """List the supervisors that run or went silent, with the numbers of their workers; ended ones are not listed."""
    with Session.open().database() as connection:
        rows = [
            describe_supervisor(process, describe_newest_order(connection, process.id))
            for process in list_supervisors(connection)
        ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["seen"] = f"{row['unseen_seconds']:.0f} s ago"
        row["queues"] = " ".join(row["queues"])
    columns = {name: name for name in ("host", "pid", "release", "started", "seen", "state", "wanted", "ready", "busy")}
    print_table(rows, {"supervisor": "supervisor", **columns, "queues": "queues", "order": "order"}, _EMPTY)


@workers.command(short_help="Show a supervisor and its workers.")
@click.argument("supervisor")
@json_option
def show(supervisor: str, as_json: bool) -> None:
    """Show SUPERVISOR: its workers, what each executes since when, its faults, and the newest orders."""
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        process = require_supervisor(list_supervisors(connection), supervisor)
        found = streams.inspector.read_heartbeats().get(supervisor)
        now_ms = streams.inspector.read_clock_ms()
        row = describe_supervisor(process, describe_newest_order(connection, supervisor))
    row["workers"] = [] if found is None else list_worker_rows(found)
    row["report_seconds"] = None if found is None else round(max(0, now_ms - found.written_ms) / 1000, 1)
    faults = [] if found is None else [*found.faults, *found.failing]
    row["faults"] = msgspec.to_builtins(faults)
    if as_json:
        print_json(row)
    else:
        print_supervisor(row)


@workers.command(short_help="Let workers finish their batches, and take nothing new.")
@_choice_options
@_order_options
def drain(**choice: Any) -> int:
    """Let the workers of each SUPERVISOR finish what they execute and end. What they had only taken is requeued.

    The supervisor stays, is not ready, and goes on with its background services, until `resume`, `stop`, or its end.
    """
    return _order("drain", **choice)


@workers.command(short_help="Let drained supervisors work again.")
@_choice_options
@_order_options
def resume(**choice: Any) -> int:
    """Let each SUPERVISOR that is drained or draining, or about to stop, start workers again."""
    return _order("resume", **choice)


@workers.command(short_help="Drain supervisors, and end them.")
@_choice_options
@_order_options
def stop(**choice: Any) -> int:
    """Drain each SUPERVISOR, then let its process end with exit code 0. Nothing is killed, however long an item takes.

    systemd with `Restart=on-failure` leaves it ended. Compose (`unless-stopped`, `always`), systemd with
    `Restart=always`, and Kubernetes start another one, with a new id, that works: use `drain`, or scale there.
    """
    return _order("stop", **choice)


@workers.command(short_help="Change the number of workers of a supervisor.")
@click.argument("supervisor")
@click.argument("processes", type=click.IntRange(1, MOST_PROCESSES), metavar="N")
@_order_options
def resize(supervisor: str, processes: int, **choice: Any) -> int:
    """Let SUPERVISOR have N workers, by the rules of `worker --processes` and its `--queue`.

    The surplus finishes what it executes and ends, idle workers first. It lasts until the supervisor ends.
    """
    return _order("resize", supervisors=(supervisor,), processes=processes, **choice)


def _order(
    action: OrderAction,
    *,
    wait: float | None,
    reason: str | None,
    as_json: bool,
    processes: int | None = None,
    **choice: Any,
) -> int:
    with Session.open().database() as connection:
        placed = [
            order_supervisor(connection, process, action, processes=processes, reason=reason)
            for process in _choose(connection, **choice)
        ]
        answers = wait_for_orders(connection, placed, wait)
    rows = [asdict(answer) for answer in answers]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"supervisor": "supervisor", "action": "order", "answer": "done", "text": "what"}, _EMPTY)
    return 0 if all(answer.answer in ("yes", "pending") for answer in answers) else 1


def _choose(
    connection: Connection, supervisors: Sequence[str], everyone: bool = False, queue: str | None = None
) -> list[ProcessRecord]:
    """The supervisors that a command is about, each once."""
    if sum((bool(supervisors), everyone, queue is not None)) != 1:
        raise UsageError("name supervisors, or give one of --all and --queue")
    known = list_supervisors(connection)
    if queue is not None:
        return choose_readers(known, queue)
    if everyone:
        return known
    return [require_supervisor(known, name) for name in dict.fromkeys(supervisors)]
