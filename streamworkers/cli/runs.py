"""`streamworkers runs`."""

from typing import Any

import click

from streamworkers.admin import runs as admin
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.known_names import require_known_job
from streamworkers.cli.obstacles import print_obstacle, read_heartbeats, warn_of_obstacle
from streamworkers.cli.run_errors import MOST_ERRORS, list_undecided, print_errors, print_undecided
from streamworkers.cli.run_starts import describe_wait
from streamworkers.cli.session import (
    Session,
    cut_text,
    json_option,
    limit_option,
    parse_since,
    print_json,
    print_table,
    run_argument,
    timeout_option,
)
from streamworkers.cli.waiting import TARGET_CHARACTERS, print_summary, summarize_run, wait_for_run
from streamworkers.engine import ledger
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.notifications.store.run_webhooks import reopen_webhook_call
from streamworkers.schedules.reports import tick_counts

_STATES = ["PENDING", "RUNNING", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"]


@click.group(short_help="List, show, watch, cancel and retry runs.")
def runs() -> None:
    """List, show, watch, cancel and retry runs."""


@runs.command("list")
@click.option("--job", help="Only runs of this job.")
@click.option("--status", type=click.Choice(_STATES, case_sensitive=False), help="Only runs in this state.")
@click.option("--since", callback=check_since, help="Only runs created since this date or ISO time.")
@limit_option
@json_option
def list_runs(job: str | None, status: str | None, since: str | None, limit: int, as_json: bool) -> None:
    """List the newest runs, newest first."""
    moment = parse_since(since) if since else None
    with Session.open().database() as connection:
        rows = ledger_reports.list_runs(connection, job=job, status=status, limit=limit, since=moment)
        if job is not None and not rows:
            require_known_job(connection, job)
    rows = [{**row, "as_of": show_bar_time(row["as_of"], row["timeframe"]) or None} for row in rows]
    if as_json:
        print_json(rows)
        return
    columns = {
        "run_id": "run",
        "job": "job",
        "target": "target",
        "schedule": "schedule",
        "as_of": "as of",
        "status": "status",
        "priority": "priority",
        "item_count": "items",
        "failed_count": "failed",
        "seconds": "seconds",
        "created_at": "created",
    }
    for row in rows:
        row["seconds"] = None if row["seconds"] is None else f"{row['seconds']:,.2f}"
        row["target"] = cut_text(row["target"], TARGET_CHARACTERS)
        row["priority"] = "" if row["priority"] == "normal" else row["priority"]
        row["waits"] = describe_wait(row)
    if any(row["waits"] for row in rows):
        columns["waits"] = "waits"
    print_table(
        rows,
        columns,
        "no runs match" if job or status or since else "no runs yet: start one with `streamworkers enqueue`",
    )


@runs.command(short_help="Show success rates, durations and ticks.")
@click.option("--days", type=click.IntRange(1, 3650), default=14, show_default=True, help="Days to look back.")
@json_option
def stats(days: int, as_json: bool) -> None:
    """Show the ended runs of each job, their success rate and durations, and the ticks of each schedule."""
    with Session.open().database() as connection:
        since = ledger.read_moment_before(connection, days * 86_400)
        jobs = ledger_reports.read_run_statistics(connection, since)
        ticks = tick_counts(connection, since)
    for row in jobs:
        row["success_rate"] = row["succeeded"] / row["runs"]
    if as_json:
        print_json({"days": days, "jobs": jobs, "ticks": ticks})
        return
    for row in jobs:
        row["success"] = f"{row['success_rate']:.1%}"
        for name in ("p50_seconds", "p95_seconds", "max_seconds"):
            row[name] = f"{row[name]:,.2f}"
    columns = {"job": "job", "runs": "runs", "success": "success", "items_failed": "failed items"}
    times = {"p50_seconds": "p50 s", "p95_seconds": "p95 s", "max_seconds": "max s"}
    print_table(jobs, columns | times, f"no run ended in the last {days} days")
    by_schedule: dict[str, dict[str, Any]] = {}
    for row in ticks:
        by_schedule.setdefault(row["schedule"], {"schedule": row["schedule"]})[row["state"]] = row["ticks"]
    if by_schedule:
        click.echo()
        states = ("started", "waiting", "missed", "skipped", "rejected")
        rows = [{"schedule": name, **dict.fromkeys(states, 0), **row} for name, row in by_schedule.items()]
        print_table(rows, {"schedule": "schedule", **{state: state for state in states}}, "")


@runs.command(short_help="Show a run, its items and its errors.")
@run_argument
@json_option
def show(run_id: int, as_json: bool) -> None:
    """Show a run: its state, its items, its distinct errors with the newest stack of each, and undecided items."""
    session = Session.open()
    with session.database() as connection:
        run = admin.require_run(connection, run_id)
        summary = summarize_run(connection, run) | {"errors": ledger_reports.list_errors(connection, run, MOST_ERRORS)}
        heartbeats = read_heartbeats(session) if run.is_open else ()
        print_obstacle(connection, heartbeats, run)
    summary["undecided"] = list_undecided(heartbeats, run_id)
    if as_json:
        print_json(summary)
        return
    print_summary(summary)
    print_errors([row for row in summary["errors"] if row["error"] != summary["reason"] or row["stack"]])
    print_undecided(summary["undecided"])


@runs.command(short_help="Wait for a run, and show its summary.")
@run_argument
@timeout_option
@json_option
def watch(run_id: int, timeout: float | None, as_json: bool) -> int:
    """Wait for a run, showing its progress and its summary. Exit code 1 when items failed."""
    session = Session.open()
    with session.database() as connection:
        run = admin.require_run(connection, run_id)
        if run.is_open:
            print_obstacle(connection, read_heartbeats(session), run)
        return wait_for_run(connection, run, timeout=timeout, as_json=as_json)


@runs.command(short_help="Cancel a run.")
@run_argument
def cancel(run_id: int) -> None:
    """Cancel a run: no further items start, and items being executed are not saved."""
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        count = admin.cancel(connection, streams, run_id)
    click.echo(f"run {run_id} cancelled with {count} items open")


@runs.command("retry-webhook", short_help="Call the webhook of a run again.")
@run_argument
@json_option
def retry_webhook(run_id: int, as_json: bool) -> None:
    """Send the call of a run's webhook again, with the id that it had and all its attempts.

    It has to be dead, held or suppressed. A receiver that was switched off by its answer 410 is on again.
    """
    with Session.open().database() as connection:
        admin.require_run(connection, run_id)
        webhook_id = reopen_webhook_call(connection, run_id)
    if as_json:
        print_json({"run_id": run_id, "webhook_id": webhook_id})
    else:
        click.echo(f"run {run_id}: its webhook is called again, as {webhook_id}")


@runs.command()
@run_argument
@click.option("--wait", is_flag=True, help="Wait for the run, showing its progress and its summary.")
def retry(run_id: int, wait: bool) -> int:
    """Run the failed and cancelled items of a run again."""
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        count = admin.retry(connection, streams, run_id)
        click.echo(f"run {run_id}: {count} items enqueued again")
        run = admin.require_run(connection, run_id)
        if wait:
            return wait_for_run(connection, run, timeout=None, as_json=False, streams=streams)
        warn_of_obstacle(connection, streams, run)
    return 0
