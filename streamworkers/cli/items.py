"""`streamworkers items`: items of all runs, in any state, and what is known of one."""

from datetime import datetime, timedelta
from typing import Any

import click

from streamworkers.admin import runs as admin
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.item_view import describe_item, parse_item, print_item
from streamworkers.cli.known_names import require_known_job, require_symbol_of_item
from streamworkers.cli.session import (
    Seconds,
    Session,
    json_option,
    limit_option,
    messages,
    parse_since,
    print_json,
    print_table,
)
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger.item_lists import (
    ITEM_STATES,
    ItemFilter,
    limit_search,
    list_items,
    list_symbols_of_items,
    read_item_row,
)
from streamworkers.engine.ledger.run_pages import list_run_items
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.schedules import timings

USUAL_DAYS = 7
_SECONDS = 10
_MOST_NAMES = 10_000
_search_time_option = click.option(
    *("--timeout", "seconds"),
    type=Seconds(0, 86_400, min_open=True),
    default=_SECONDS,
    show_default=True,
    help="Stop searching after this many seconds.",
)


@click.group(short_help="Items of all runs: list and show them.")
def items() -> None:
    """Items of all runs, in any state. An item is named RUN:SEQ, as `items list` prints it."""


@items.command("list", short_help="List items in any state, newest runs first.")
@click.option("--run", "run_id", type=click.IntRange(1, 2**63 - 1), help="Only items of this run.")
@click.option("--job", help="Only items of this job.")
@click.option("--schedule", help="Only items of runs that this schedule started.")
@click.option("--symbol", help="Only items of this symbol, part or id.")
@click.option("--timeframe", help="Only items of this timeframe.")
@click.option("--status", help=f"Only items in this state: {', '.join(ITEM_STATES)}, or dead, which is failed.")
@click.option("--error", help="Only items whose error contains this text, in any case.")
@click.option(
    "--since",
    callback=check_since,
    help=f"Only items of runs created since this date or ISO time.  [default: {USUAL_DAYS} days ago; with --run all]",
)
@click.option("--until", callback=check_since, help="Only items of runs created before this date or ISO time.")
@click.option("--after", help="Continue behind this item, the last of the page before.")
@_search_time_option
@limit_option
@json_option
def list_all(limit: int, seconds: float, as_json: bool, **words: Any) -> None:
    """List items in any state, newest runs first, by their place in the run.

    A list that is cut says how to see the rest. `items show` has the arguments, the errors and the result of one.
    """
    with Session.open().database() as connection:
        wanted = _read_filter(connection, words)
        with limit_search(connection, seconds):
            rows = list_items(connection, wanted, limit + 1)
            if not rows:
                _require_known(connection, wanted)
    shown = [{"item": f"{row['run_id']}:{row['seq']}", **row} for row in rows[:limit]]
    if as_json:
        print_json([{name: value for name, value in row.items() if name != "history"} for row in shown])
    else:
        _print_rows(shown)
    if wanted.since is not None:
        since = wanted.since.astimezone()
        messages.print(f"searched: runs created since {since:%Y-%m-%d %H:%M:%S %Z}", markup=False, highlight=False)
    if len(rows) > limit:
        messages.print(f"there are more: --after {shown[-1]['item']}", markup=False, highlight=False)


@items.command(short_help="Show an item with its arguments, attempts and result.")
@click.argument("run", metavar="RUN")
@click.argument("symbol", required=False)
@click.option("--timeframe", help="Its timeframe, in a run that has the symbol in several.")
@json_option
def show(run: str, symbol: str | None, timeframe: str | None, as_json: bool) -> None:
    """Show the item of SYMBOL, which may be a part or an id, in RUN; or the item that RUN names as RUN:SEQ.

    It prints the arguments of the run, the state, the error of each attempt, the times, the result, what of it the run
    has saved, the events of the run, and the command that is next.
    """
    with Session.open().database() as connection, limit_search(connection, _SECONDS):
        if symbol is None:
            run_id, seq = parse_item(run)
        else:
            run_id, seq = _find_place(connection, run, symbol, timeframe)
        of_run = admin.require_run(connection, run_id)
        row = read_item_row(connection, of_run, seq)
        if row is None:
            raise BadInputError(f"run {run_id} has no item {seq}: see `streamworkers items list --run {run_id}`")
        item = describe_item(connection, of_run, row)
    if as_json:
        print_json(item)
    else:
        print_item(item)


def _read_filter(connection: Connection, words: dict[str, Any]) -> ItemFilter:
    until = _read_moment(words["until"])
    since = _read_moment(words["since"])
    if since is None and words["run_id"] is None:
        end = until or ledger.read_moment_before(connection, 0)
        since = end - timedelta(days=USUAL_DAYS)
    if since is not None and until is not None and until <= since:
        raise BadInputError(f"--until {words['until']} is not after --since {since.isoformat()}")
    return ItemFilter(
        run_id=words["run_id"],
        job=words["job"],
        schedule=words["schedule"],
        symbol=words["symbol"],
        timeframe=words["timeframe"] and timeframe_named(words["timeframe"]).name,
        status=words["status"] and _read_state(words["status"]),
        error=words["error"],
        since=since,
        until=until,
        after=words["after"] and parse_item(words["after"]),
    )


def _read_moment(text: str | None) -> datetime | None:
    return parse_since(text) if text else None


def _read_state(text: str) -> str:
    state = {"dead": "failed"}.get(text.lower(), text.lower())
    if state not in ITEM_STATES:
        raise UnknownNameError("state of an item", text, (*ITEM_STATES, "dead"))
    return state


def _require_known(connection: Connection, wanted: ItemFilter) -> None:
    """Raise UnknownNameError for a run, job, schedule or symbol that there is not."""
    run = None if wanted.run_id is None else admin.require_run(connection, wanted.run_id)
    if wanted.job is not None:
        require_known_job(connection, wanted.job)
    if wanted.schedule is not None:
        timings.require_id(connection, wanted.schedule)
    if wanted.symbol is not None and wanted.after is None:
        if run is not None:
            names = list_symbols_of_items(connection, run, _MOST_NAMES)
        else:
            others = ItemFilter(job=wanted.job, schedule=wanted.schedule, since=wanted.since, until=wanted.until)
            names = [row["symbol"] for row in list_items(connection, others, _MOST_NAMES)]
        require_symbol_of_item(connection, wanted.symbol, names)


def _find_place(connection: Connection, text: str, symbol: str, timeframe: str | None) -> tuple[int, int]:
    if not text.isdecimal() or not 1 <= int(text) < 2**63:
        raise BadInputError(f"{text!r} is not the number of a run, such as 42")
    run = admin.require_run(connection, int(text))
    frame = timeframe and timeframe_named(timeframe).name
    rows = list_run_items(connection, run, -1, _MOST_NAMES, symbol=symbol)
    found = [row for row in rows if frame in (None, row["timeframe"])]
    if not rows:
        raise UnknownNameError(f"item of run {run.id}", symbol, list_symbols_of_items(connection, run, _MOST_NAMES))
    if len(found) != 1:
        frames = ", ".join(str(row["timeframe"]) for row in rows)
        raise BadInputError(f"run {run.id} has {symbol!r} in these timeframes: {frames}; name one with --timeframe")
    return run.id, found[0]["seq"]


def _print_rows(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["took"] = "" if row["seconds"] is None else f"{row['seconds']:,.2f}"
    columns = {"item": "item", "job": "job", "symbol": "symbol", "timeframe": "timeframe", "status": "state"}
    times = {"attempt": "attempts", "finished_at": "ended", "took": "seconds"}
    print_table(rows, {**columns, **times, "error": "error"}, "no items match")
