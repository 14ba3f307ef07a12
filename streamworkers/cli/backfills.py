"""`streamworkers backfills`."""

from collections.abc import Callable

import click

from streamworkers.actor import LOCAL
from streamworkers.cli.backfill_view import print_counts, summarize, watch_backfill
from streamworkers.cli.session import F, Session, json_option, limit_option, print_json, print_table, timeout_option
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import show_moment_there
from streamworkers.schedules.backfills.store import (
    STATES,
    cancel_backfill,
    list_backfills,
    read_ticks,
    require_backfill,
)

backfill_argument: Callable[[F], F] = click.argument(
    "backfill_id", type=click.IntRange(1, 2**63 - 1), metavar="BACKFILL"
)


@click.group()
def backfills() -> None:
    """Backfills, which `schedules backfill` starts: list, show, watch, cancel."""


@backfills.command("list", short_help="List backfills with their counts.")
@limit_option
@json_option
def list_all(limit: int, as_json: bool) -> None:
    """List the newest backfills with the number of their ticks by state."""
    with Session.open().database() as connection:
        rows = [summarize(connection, each) for each in list_backfills(connection, limit)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row |= {"about": row["schedule"] or f"job {row['job']}", **row["counts"]}
    columns = {name: name for name in ("id", "about", "from", "to", "state", "ticks", *STATES)}
    print_table(rows, columns, "no backfills yet: streamworkers schedules backfill")


@backfills.command(short_help="Show the ticks of a backfill and their runs.")
@backfill_argument
@click.option("--state", "state", metavar="STATE", help=f"Only ticks of this state: {', '.join(STATES)}.")
@limit_option
@json_option
def show(backfill_id: int, state: str | None, limit: int, as_json: bool) -> None:
    """Show the counts of a backfill, and its ticks in order with their runs and reasons."""
    if state is not None and state not in STATES:
        raise BadInputError(f"--state {state!r} is not one of {', '.join(STATES)}")
    with Session.open().database() as connection:
        summary = summarize(connection, require_backfill(connection, backfill_id))
        rows = read_ticks(connection, backfill_id, limit, STATES if state is None else [state])
        if as_json:
            print_json({**summary, "list": rows})
            return
        print_counts(connection, summary)
    for row in rows:
        row["tick"] = show_moment_there(row["scheduled_for"])
    columns = {"session": "session", "tick": "tick", "state": "state", "run_id": "run", "reason": "why"}
    print_table(rows, columns, "no such ticks")


@backfills.command(short_help="Show the progress of a backfill until it has ended.")
@backfill_argument
@timeout_option
@json_option
def watch(backfill_id: int, timeout: float | None, as_json: bool) -> int:
    """Show the progress of a backfill until it has ended, then its counts.

    Exit code 1 if ticks failed or were cancelled, or if it has not ended after --timeout.
    """
    with Session.open().database() as connection:
        require_backfill(connection, backfill_id)
        return watch_backfill(connection, backfill_id, timeout=timeout, as_json=as_json)


@backfills.command(short_help="Start no more runs of a backfill.")
@backfill_argument
@json_option
def cancel(backfill_id: int, as_json: bool) -> None:
    """Cancel the ticks of a backfill that wait; its open runs go on to their end."""
    with Session.open().database() as connection:
        count = cancel_backfill(connection, backfill_id, LOCAL)
        running = [row["run_id"] for row in read_ticks(connection, backfill_id, 100, ["started"])]
    if as_json:
        print_json({"id": backfill_id, "cancelled": count, "open_runs": running})
        return
    click.echo(f"backfill {backfill_id} cancelled: {count:,} ticks were waiting")
    if running:
        click.echo(f"open runs go on: {', '.join(map(str, running))}")
