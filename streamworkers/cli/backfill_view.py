"""Backfills for people: what one will do, its progress, and the outcome of its ticks."""

import time
from typing import Any

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from streamworkers.cli.schedule_rows import format_local_time
from streamworkers.cli.session import messages, print_json, print_table
from streamworkers.cli.waiting import EXIT_INTERRUPTED
from streamworkers.database import Connection
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.schedules.backfills.store import (
    STATES,
    AddedBackfill,
    Backfill,
    count_ticks,
    read_ticks,
    require_backfill,
)
from streamworkers.schedules.backfills.subject import BackfillPlan
from streamworkers.schedules.timing import Timing

_NAMED = 10
_PAUSE_SECONDS = 0.2


def print_plan(plan: BackfillPlan, timing: Timing, as_json: bool) -> None:
    """Print the ticks that a backfill would have."""
    rows = [
        {
            "session": tick.session,
            "tick": format_local_time(tick.moment, timing.zone.key),
            "state": "waiting" if reason is None else "skipped",
            "why": reason,
        }
        for tick, reason in plan.ticks
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {name: name for name in ("session", "tick", "state", "why")}, "")


def print_added(connection: Connection, plan: BackfillPlan, added: AddedBackfill, as_json: bool) -> None:
    """Print that a backfill was stored, or why there is nothing to do."""
    if as_json:
        shown = summarize(connection, require_backfill(connection, added.id)) if added.id is not None else {"id": None}
        print_json({**shown, "counts": _fill(added.counts), "elsewhere": added.elsewhere})
    else:
        elsewhere = [f"{count:,} are in backfill {number}" for number, count in added.elsewhere.items()]
        words = ", ".join([*_list_counts(added.counts), *elsewhere])
        period = f"{plan.subject.name} from {plan.period.first} to {plan.period.last}"
        if added.id is None:
            click.echo(f"nothing to do: of {len(plan.ticks):,} ticks of {period} {words}")
            return
        click.echo(f"backfill {added.id}: {len(plan.ticks):,} ticks of {period}: {words}")
        click.echo(f"watch it: streamworkers backfills watch {added.id}")
    if added.id is not None:
        warn_without_scheduler(connection)


def warn_without_scheduler(connection: Connection) -> None:
    """Print a warning on standard error if no scheduler lives that would start the runs."""
    if not any(each.kind == "scheduler" and not each.is_silent for each in read_processes(connection)):
        click.echo("no scheduler runs now, which would start its runs: streamworkers scheduler", err=True)


def summarize(connection: Connection, backfill: Backfill) -> dict[str, Any]:
    """A backfill with its counts, as JSON and tables show it."""
    counts = _fill(count_ticks(connection, [backfill.id]).get(backfill.id, {}))
    return {
        "id": backfill.id,
        "schedule": backfill.schedule,
        "job": backfill.request["job"],
        "from": backfill.first_day,
        "to": backfill.last_day,
        "state": backfill.state,
        "parallel": backfill.parallel,
        "again": backfill.again,
        "created_at": backfill.created_at,
        "ended_at": backfill.ended_at,
        "ticks": sum(counts.values()),
        "counts": counts,
    }


def watch_backfill(connection: Connection, backfill_id: int, *, timeout: float | None, as_json: bool) -> int:
    """Show the progress until a backfill has ended, then its counts; returns the exit code.

    Ctrl-C and `timeout` end the watching, not the backfill.
    """
    warn_without_scheduler(connection)
    hint = f"Watch it: streamworkers backfills watch {backfill_id}"
    try:
        has_ended = _follow(connection, backfill_id, timeout)
    except KeyboardInterrupt:
        click.echo(f"\nbackfill {backfill_id} goes on. {hint}", err=True)
        return EXIT_INTERRUPTED
    summary = summarize(connection, require_backfill(connection, backfill_id))
    if as_json:
        print_json(summary)
    else:
        print_counts(connection, summary)
    if not has_ended:
        click.echo(f"backfill {backfill_id} has not ended after {timeout:g} s. {hint}", err=True)
    return 0 if has_ended and not summary["counts"]["failed"] and not summary["counts"]["cancelled"] else 1


def print_counts(connection: Connection, summary: dict[str, Any]) -> None:
    """Print the counts of a backfill, and the first of its ticks that failed."""
    name = summary["schedule"] or summary["job"]
    words = ", ".join(_list_counts(summary["counts"])) or "no ticks"
    period = f"from {summary['from']} to {summary['to']}"
    click.echo(f"backfill {summary['id']} of {name} {period}: {summary['state']}: {words}")
    for row in read_ticks(connection, summary["id"], _NAMED, ["failed"]):
        click.echo(f"  {row['session']}: {row['reason']}")
    if summary["counts"]["failed"] > _NAMED:
        click.echo(f"  list them: streamworkers backfills show {summary['id']} --state failed")


def _fill(counts: dict[str, int]) -> dict[str, int]:
    return {state: counts.get(state, 0) for state in STATES}


def _list_counts(counts: dict[str, int]) -> list[str]:
    return [f"{counts[state]:,} {state}" for state in STATES if counts.get(state)]


def _follow(connection: Connection, backfill_id: int, timeout: float | None) -> bool:
    deadline = time.monotonic() + timeout if timeout is not None else float("inf")
    columns = (
        TextColumn("backfill {task.fields[number]}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} done, {task.fields[failed]} failed"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=True) as progress:
        bar = progress.add_task("backfill", total=0, number=backfill_id, failed=0)
        while True:
            backfill = require_backfill(connection, backfill_id)
            counts = _fill(count_ticks(connection, [backfill_id]).get(backfill_id, {}))
            total = sum(counts.values())
            done = total - counts["waiting"] - counts["started"]
            progress.update(bar, total=total, completed=done, failed=counts["failed"])
            if backfill.ended_at is not None:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(min(_PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
