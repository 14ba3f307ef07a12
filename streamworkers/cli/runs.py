"""`streamworkers runs`."""

import click

from streamworkers.cli.session import (
    Session,
    json_option,
    limit_option,
    print_json,
    print_table,
    run_argument,
    show_bar_time,
    timeout_option,
)
from streamworkers.cli.waiting import print_summary, summary_of, wait_for_run, warn_without_workers
from streamworkers.engine import ledger_reports, operations

_STATES = ["PENDING", "RUNNING", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"]


@click.group()
def runs() -> None:
    """Runs: list, show, watch, cancel, retry."""


@runs.command("list")
@click.option("--job", help="Only runs of this job.")
@click.option("--status", type=click.Choice(_STATES, case_sensitive=False), help="Only runs in this state.")
@limit_option
@json_option
def list_runs(job: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """The newest runs."""
    with Session.open().database() as connection:
        rows = ledger_reports.list_runs(connection, job=job, status=status, limit=limit)
    rows = [{**row, "as_of": show_bar_time(row["as_of"], row["timeframe"]) or None} for row in rows]
    if as_json:
        print_json(rows)
        return
    columns = {
        "run_id": "run",
        "job": "job",
        "target": "target",
        "as_of": "as of",
        "status": "status",
        "item_count": "items",
        "failed_count": "failed",
        "seconds": "seconds",
        "created_at": "created",
    }
    for row in rows:
        row["seconds"] = f"{row['seconds']:,.2f}"
    print_table(
        rows, columns, "no runs match" if job or status else "no runs yet: start one with `streamworkers enqueue`"
    )


@runs.command()
@run_argument
@json_option
def show(run_id: int, as_json: bool) -> None:
    """One run: its state, its items, what failed and why."""
    with Session.open().database() as connection:
        summary = summary_of(connection, operations.require_run(connection, run_id))
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)


@runs.command(short_help="Wait for a run and show its summary.")
@run_argument
@timeout_option
@json_option
def watch(run_id: int, timeout: float | None, as_json: bool) -> int:
    """Wait for a run, show its progress and its summary; exit code 1 when items failed."""
    with Session.open().database() as connection:
        return wait_for_run(connection, operations.require_run(connection, run_id), timeout=timeout, as_json=as_json)


@runs.command(short_help="Cancel a run.")
@run_argument
def cancel(run_id: int) -> None:
    """Cancel a run: what has not begun never will, what is being worked on is not saved."""
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        count = operations.cancel(connection, streams, run_id)
    click.echo(f"run {run_id} cancelled; {count} items had not been done")


@runs.command()
@run_argument
@click.option("--wait", is_flag=True, help="Wait for the run, show its progress and its summary.")
def retry(run_id: int, wait: bool) -> int:
    """Run the failed and cancelled items of a run again."""
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        count = operations.retry(connection, streams, run_id)
        click.echo(f"run {run_id}: {count} items again")
        run = operations.require_run(connection, run_id)
        if wait:
            return wait_for_run(connection, run, timeout=None, as_json=False, streams=streams)
        warn_without_workers(streams, run.queue)
    return 0
