"""`streamworkers schedulers`: which schedulers there are, and what each of them does."""

from typing import Any

import click
import msgspec

from streamworkers.cli.schedule_rows import format_local_time
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.engine.ledger.processes import LoopStatus, ProcessRecord, read_processes
from streamworkers.errors import UnknownNameError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

_FAULTS = ("faults", "failing")


@click.group()
def schedulers() -> None:
    """Schedulers: list them, and show what each does."""


@schedulers.command("list", short_help="List the schedulers that run or went silent.")
@json_option
def list_schedulers(as_json: bool) -> None:
    """List the schedulers that run or went silent; one that ended in order is not listed."""
    rows = [_describe(process) for process in _read_schedulers()]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["since"] = format_local_time(row["started_at"], EXCHANGE_ZONE.key)
        row["seen"] = f"{row['unseen_seconds']:.0f} s ago"
        row["services"] = len(row["services"])
    columns = {
        "id": "scheduler",
        "host": "host",
        "pid": "pid",
        "version": "version",
        "since": "since",
        "seen": "seen",
        "state": "state",
        "services": "services for all",
        "trouble": "trouble",
    }
    print_table(rows, columns, "no scheduler runs: streamworkers scheduler")


@schedulers.command(short_help="Show what each scheduler does.")
@click.argument("scheduler", required=False)
@json_option
def show(scheduler: str | None, as_json: bool) -> None:
    """Show what SCHEDULER, or each of them, does: its loops, with their last success and their trouble.

    A service is done by one scheduler for all, which is its `yes`; the others are ready to do it. What every
    scheduler does, such as deciding ticks, is `always`.
    """
    found = _read_schedulers()
    if scheduler is not None and scheduler not in {process.id for process in found}:
        raise UnknownNameError("scheduler", scheduler, (process.id for process in found))
    rows = [row for process in found if scheduler in (None, process.id) for row in _describe_loops(process)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["worked"] = format_local_time(row["worked_at"], EXCHANGE_ZONE.key)
    columns = {"scheduler": "scheduler", "name": "loop", "does": "does it", "worked": "last success"}
    print_table(rows, {**columns, "trouble": "trouble"}, "no scheduler runs: streamworkers scheduler")


def _read_schedulers() -> list[ProcessRecord]:
    with Session.open().database() as connection:
        return [process for process in read_processes(connection) if process.kind == "scheduler"]


def _describe(process: ProcessRecord) -> dict[str, Any]:
    troubles = list(_find_troubles(process).values())
    return {
        "id": process.id,
        "host": process.host,
        "pid": process.pid,
        "version": process.version,
        "started_at": process.started_at,
        "seen_at": process.seen_at,
        "unseen_seconds": round(process.unseen_seconds, 1),
        "state": "silent" if process.is_silent else process.state or "ok",
        "services": process.doing.get("services", []),
        "trouble": troubles[0] if troubles else None,
    }


def _describe_loops(process: ProcessRecord) -> list[dict[str, Any]]:
    troubles = _find_troubles(process)
    loops = msgspec.convert(process.doing.get("loops", []), list[LoopStatus])
    return [
        {
            "scheduler": process.id,
            "name": loop.name,
            "does": {None: "always", True: "yes", False: "no"}[loop.is_leased],
            "worked_at": loop.worked_at,
            "trouble": troubles.get(loop.name),
        }
        for loop in loops
    ]


def _find_troubles(process: ProcessRecord) -> dict[str, str]:
    """What stops its loops now, by loop."""
    return {each["who"]: each["text"] for name in _FAULTS for each in process.doing.get(name, []) if "who" in each}
