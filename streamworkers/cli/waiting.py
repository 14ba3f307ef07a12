"""Shared by commands that start or watch a run: announce it, wait for it, print its summary."""

import json
import time
from datetime import UTC, datetime
from math import ceil
from typing import Any

import click
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from streamworkers.cli.obstacles import warn_of_obstacle
from streamworkers.cli.run_starts import describe_wait
from streamworkers.cli.run_webhooks import describe_webhook
from streamworkers.cli.session import cut_text, messages, print_json
from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import OPEN_STATES, Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.lanes import describe_lane
from streamworkers.engine.redis.streams import Streams
from streamworkers.loading import LOAD_JOB
from streamworkers.loading.progress import Progress as RunProgress
from streamworkers.loading.progress import count_calls_left
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.schedules.reports import tick_of_run

EXIT_INTERRUPTED = 130
TARGET_CHARACTERS = 60
_NAMED = 10
_LISTED = 100_000
_RESULTS_SHOWN = 20
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


class _RateColumn(ProgressColumn):
    """The rate in items per second."""

    def render(self, task: "Task") -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:,.0f} items/s")


def announce_run(connection: Connection, streams: Streams, run: Run, key: str | None, *, as_json: bool) -> None:
    """Print that a run was started, or that an earlier run has its `key`; warns if nothing executes it."""
    warn_of_obstacle(connection, streams, run)
    if as_json:
        print_json(summarize_run(connection, run))
    elif key is not None:
        click.echo(f"run {run.id} has the key {key!r} already and is {run.status}; nothing was started")
    elif not run.is_prepared:
        click.echo(f"run {run.id} of {run.job} {_describe_start(connection, run)}")
        click.echo(f"watch it: streamworkers runs watch {run.id}")
    else:
        click.echo(f"run {run.id}: {run.item_count} items of {run.job} in {describe_lane(run.queue)}")
        announce_calls(run)
        click.echo(f"watch it: streamworkers runs watch {run.id}")


def _describe_start(connection: Connection, run: Run) -> str:
    """What a run that has no items yet waits for."""
    row = ledger_reports.read_run(connection, run.id)
    waits = describe_wait(row) if row is not None else None
    return f"waits {waits or 'to be prepared by a worker or scheduler that has the job'}"


def announce_calls(run: Run) -> None:
    """Print about how many calls a load takes, and how long at the rate limit."""
    calls, limit = run.parameters.get("estimated_calls"), load_settings().massive_calls_per_minute
    if calls and run.parameters.get("provider") == "massive":
        minutes = ceil(calls / limit) if limit else 0
        time = f", at {limit} a minute about {minutes:,} minutes" if limit and minutes > 1 else ""
        click.echo(f"about {calls:,} calls to massive{time}")


def wait_for_run(
    connection: Connection, run: Run, *, timeout: float | None, as_json: bool, streams: Streams | None = None
) -> int:
    """Show progress until the run ends, then its summary; returns the exit code.

    Ctrl-C and `timeout` end the wait, not the run. With `streams`, warns first if nothing executes the run.
    """
    try:
        if streams is not None:
            warn_of_obstacle(connection, streams, run)
            if not as_json:
                announce_calls(run)
        if run.is_open and not run.is_prepared:
            click.echo(f"run {run.id} {_describe_start(connection, run)}", err=True)
        ended = _watch(connection, run, timeout)
    except KeyboardInterrupt:
        click.echo(f"\nrun {run.id} continues. Watch it: streamworkers runs watch {run.id}", err=True)
        return EXIT_INTERRUPTED
    if not ended:
        click.echo(
            f"run {run.id} has not ended after {timeout:g} s. Watch it: streamworkers runs watch {run.id}", err=True
        )
        if as_json:
            print_json(summarize_run(connection, run))
        return 1
    summary = summarize_run(connection, run)
    if as_json:
        print_json(summary)
    else:
        print_summary(summary)
    return 0 if summary["status"] == "COMPLETED" else 1


def summarize_run(connection: Connection, run: Run) -> dict[str, Any]:
    """A run in full: its row, its items by state, and which items were stale, incomplete or failed."""
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    counts = ledger.count_items(connection, run)
    stale = ledger_reports.list_items_with_result(connection, run, "stale", _LISTED)
    missing = ledger_reports.list_items_with_result(connection, run, "missing", _LISTED)
    gaps = ledger_reports.list_items_with_result(connection, run, "gaps", _LISTED)
    bars = ledger_reports.sum_loaded_bars(connection, run) if run.job == LOAD_JOB else []
    completed = counts.get("completed", 0)
    return {
        **report,
        "as_of": show_bar_time(report["as_of"], report["timeframe"]) or None,
        "items": {
            "total": report["item_count"],
            "open": sum(counts.get(state, 0) for state in OPEN_STATES),
            "closed": report["item_count"] - sum(counts.get(state, 0) for state in OPEN_STATES),
            "completed": completed,
            "analysed": completed - len(stale),
            "stale": len(stale),
            "failed": counts.get("failed", 0),
            "cancelled": counts.get("cancelled", 0),
        },
        "stale": [{"symbol": symbol, "last_bar": last} for symbol, last in stale],
        "incomplete": [{"symbol": symbol, "missing": names} for symbol, names in missing],
        "missing": [{"symbol": symbol, "timeframe": run.timeframe, **found} for symbol, found in gaps],
        "failed": ledger_reports.list_failed_items(connection, run, _LISTED),
        **_read_progress(
            run,
            report["started_at"],
            report["item_count"],
            report["item_count"] - sum(counts.get(state, 0) for state in OPEN_STATES),
        ),
        "bars": [{name: value for name, value in row.items() if name != "symbols"} for row in bars],
        "tick": tick_of_run(connection, run.id),
        "results": dict(ledger_reports.list_item_results(connection, run)) if _is_small(run) else {},
    }


def _read_progress(run: Run, started: datetime | None, total: int, closed: int) -> dict[str, Any]:
    """How many calls an open run still makes, and about when it is done."""
    if not run.is_open:
        return {"calls_left": 0, "eta": None}
    calls = count_calls_left(run.parameters, total, closed)
    progress = RunProgress(total, closed, calls, started)
    return {"calls_left": calls, "eta": progress.eta(load_settings().massive_calls_per_minute, datetime.now(UTC))}


def print_summary(summary: dict[str, Any]) -> None:
    """Print a summary as text."""
    items = summary["items"]
    target = cut_text(summary["target"], TARGET_CHARACTERS)
    click.echo(f"run {summary['run_id']}: {summary['job']} over {target}: {summary['status']}")
    _print_preparation(summary)
    if summary["schedule"]:
        when = f" for {summary['scheduled_for'].astimezone():%Y-%m-%d %H:%M:%S %Z}" if summary["scheduled_for"] else ""
        click.echo(f"  schedule   {summary['schedule']}{when} ({summary['trigger']})")
        if summary["tick"] and summary["tick"]["reason"]:
            click.echo(f"  started    {summary['tick']['reason']}")
        missing = (summary["tick"] or {}).get("detail") or {}
        if missing.get("missing"):
            click.echo(f"  missing    {_join_some(missing['missing'])}")
    if summary["as_of"]:
        click.echo(f"  as of      {summary['as_of']}" + (f" ({summary['timeframe']})" if summary["timeframe"] else ""))
    if summary["priority"] not in (None, "normal"):
        click.echo(f"  priority   {summary['priority']}")
    click.echo(f"  items      {items['closed']} of {items['total']} closed{_describe_pace(summary)}")
    _print_eta(summary)
    is_analysis = summary["as_of"] and not summary["bars"]
    parts = f": {items['analysed']} analysed, {items['stale']} stale" if is_analysis else ""
    click.echo(f"  completed  {items['completed']}{parts}")
    for row in summary["bars"]:
        click.echo(f"  {row['timeframe']:<9}  {_describe_bars(row)}")
    _print_stale(summary)
    if summary["incomplete"]:
        names = [f"{row['symbol']} ({len(row['missing'])} missing)" for row in summary["incomplete"]]
        click.echo(f"  short      {_join_some(names)}")
    if summary["missing"]:
        click.echo(f"  missing    {_join_some([_describe_missing(row) for row in summary['missing']])}")
    for part, result in summary["results"].items():
        click.echo(f"  {part}: {json.dumps(result)}")
    if items["cancelled"]:
        click.echo(f"  cancelled  {items['cancelled']}")
    _print_failed(summary)


def _print_failed(summary: dict[str, Any]) -> None:
    """Print the first failed items, and how to list them all."""
    items = summary["items"]
    if items["failed"]:
        click.echo(f"  failed     {items['failed']}")
        # What has ended the run stands above.
        for row in [row for row in summary["failed"] if row["error"] != summary["reason"]][:_NAMED]:
            name = row["symbol"] if summary["timeframe"] else " ".join(filter(None, (row["symbol"], row["timeframe"])))
            click.echo(f"    {name} (attempt {row['attempt']}): {row['error']}")
        click.echo(f"  list them: streamworkers dead list --run {summary['run_id']}")


def _print_eta(summary: dict[str, Any]) -> None:
    """Print when an open run is about done."""
    if summary["eta"]:
        calls = f", {summary['calls_left']:,} calls left" if summary["calls_left"] else ""
        click.echo(f"  done       about {summary['eta'].astimezone():%Y-%m-%d %H:%M %Z}{calls}")


def _print_stale(summary: dict[str, Any]) -> None:
    """Print which symbols were stale, and whether they were too many."""
    limit = summary["max_stale"]
    if limit is not None and summary["stale_count"] and summary["stale_count"] > limit * summary["item_count"]:
        click.echo(f"  no success because more than {limit:.0%} of the symbols are stale: load their bars")
    if summary["stale"]:
        names = [f"{row['symbol']} ({row['last_bar']})" for row in summary["stale"]]
        click.echo(f"  stale      {_join_some(names)}")


def _print_preparation(summary: dict[str, Any]) -> None:
    """Print why a run ended without items, or that it has none yet."""
    if summary["reason"]:
        click.echo(f"  reason     {summary['reason']}")
    if webhook := describe_webhook(summary["webhook"]):
        click.echo(f"  webhook    {webhook}")
    if waits := describe_wait(summary):
        click.echo(f"  waits      {waits}")
    elif summary["prepared_at"] is None and summary["status"] == "PENDING":
        click.echo("  prepared   not yet: a worker or scheduler that has the job does it")


def _watch(connection: Connection, run: Run, timeout: float | None) -> bool:
    deadline = time.monotonic() + timeout if timeout else float("inf")
    columns = (
        TextColumn("run {task.fields[run]}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} done, {task.fields[failed]} failed"),
        _RateColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=True) as progress:
        bar = progress.add_task("run", total=run.item_count, run=run.id, failed=0)
        while True:
            started = time.monotonic()
            now = ledger.load_run(connection, run.id)
            counts = ledger.count_items(connection, now or run)
            open_count = sum(counts.get(state, 0) for state in OPEN_STATES)
            total = run.item_count if now is None else now.item_count
            progress.update(bar, total=total, completed=total - open_count, failed=counts.get("failed", 0))
            if now is None or not now.is_open:
                return True
            if started >= deadline:
                return False
            # Counting a large run costs the database time that the workers need more.
            cost = time.monotonic() - started
            time.sleep(min(max(_SHORTEST_PAUSE, 10 * cost), _LONGEST_PAUSE, max(0.0, deadline - started)))


def _describe_pace(summary: dict[str, Any]) -> str:
    """How long a run has taken since a worker began its first item, and its rate."""
    seconds, closed = summary["seconds"], summary["items"]["closed"]
    if seconds is None:
        return "; no worker has begun it"
    return f" in {seconds:.2f} s ({closed / seconds if seconds else 0.0:,.0f}/s)"


def _describe_bars(row: dict[str, Any]) -> str:
    """Describe the bars loaded in one timeframe."""
    words = [f"{row['bars']:,} bars of {row['completed']} symbols"]
    words += [f"{row['failed']} failed"] if row["failed"] else []
    words += [f"{row['missing_bars']:,} bars fewer than the sessions give"] if row["missing_bars"] else []
    words += [f"{row['with_rejected']} symbols with rejected bars"] if row["with_rejected"] else []
    words += [f"the plan of the key begins at {row['history_from']}"] if row["history_from"] else []
    words += [row["why"]] if not row["bars"] and row["why"] else []
    return ", ".join(words)


def _describe_missing(row: dict[str, Any]) -> str:
    """Describe the bars that a run of `alerts` has not found."""
    rest = row["count"] - len(row["bars"])
    bars = ", ".join(row["bars"]) + (f" and {rest:,} more" if rest else "")
    return f"{row['timeframe']} bars of {row['symbol']} ({bars})"


def _is_small(run: Run) -> bool:
    """True if the items are the parts of a job, so that the result of each is worth printing."""
    return run.as_of is None and run.item_count <= _RESULTS_SHOWN


def _join_some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
