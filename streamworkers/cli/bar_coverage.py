"""`streamworkers bars coverage` and `bars gaps`: stored bars compared with the sessions of their calendars."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import click

from streamworkers.cli.known_names import require_known_symbols
from streamworkers.cli.session import Day, Session, json_option, limit_option, print_json, print_table
from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.loading.coverage import compute_coverage, find_gaps
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import Timeframe, bar_moment, timeframe_named
from streamworkers.market.universes.store import resolve

F = TypeVar("F", bound=Callable[..., Any])
_YEAR = 365


def _range_options(command: F) -> F:
    for option in (
        click.option("--to", "last", type=Day, help="Last day.  [default: today]"),
        click.option("--from", "first", type=Day, help="First day.  [default: a year before the last day]"),
        click.option(
            "--timeframe", default="day", show_default=True, help="Timeframe: 1min, hour, day, week or month."
        ),
    ):
        command = option(command)
    return command


@click.command(short_help="Expected, stored and missing bars of each symbol.")
@click.option("--universe", required=True, help="Universe, or several: 'dow30:nasdaq100' is their union.")
@_range_options
@click.option("--all", "show_all", is_flag=True, help="List complete symbols, too.")
@json_option
def coverage(
    universe: str, timeframe: str, first: datetime | None, last: datetime | None, show_all: bool, as_json: bool
) -> int:
    """Compare the stored bars of each symbol with the sessions of its calendar; exit code 1 if a bar is missing."""
    frame = timeframe_named(timeframe)
    session = Session.open()
    rules, span = _rules(session.settings, first, last)
    with session.database() as connection:
        calendars = read_calendar_rules(connection, session.settings.calendar)
        rows = compute_coverage(connection, resolve(connection, universe), frame, span, rules, calendars)
    incomplete = [row for row in rows if row.missing]
    report = {
        "timeframe": frame.name,
        "first": span.first,
        "last": span.last,
        "symbols": len(rows),
        "complete": len(rows) - len(incomplete),
        "expected": sum(row.expected for row in rows),
        "present": sum(row.present for row in rows),
        "rows": [
            {"symbol": row.symbol, "expected": row.expected, "present": row.present, "missing": row.missing}
            for row in (rows if show_all else sorted(incomplete, key=lambda row: (-row.missing, row.symbol)))
        ],
    }
    if as_json:
        print_json(report)
    else:
        _print_coverage(report, universe)
    return 1 if incomplete else 0


def _print_coverage(report: dict[str, Any], universe: str) -> None:
    expected, present = report["expected"], report["present"]
    share = f"{present / expected:.2%}" if expected else "none expected"
    timeframe, first, last = report["timeframe"], report["first"], report["last"]
    click.echo(
        f"{timeframe} bars of {report['symbols']} symbols, {first} to {last}:"
        f" {present:,} of {expected:,} ({share}), {report['complete']} symbols complete"
    )
    if report["rows"]:
        print_table(report["rows"], {name: name for name in ("symbol", "expected", "present", "missing")}, "")
    if report["complete"] < report["symbols"]:
        click.echo(
            f"to load them: streamworkers load --universe {universe} --timeframes {timeframe}"
            f" --from {first} --to {last} --fill-gaps"
        )


@click.command(short_help="Ranges in which a symbol has no bars.")
@click.argument("symbol")
@_range_options
@limit_option
@json_option
def gaps(symbol: str, timeframe: str, first: datetime | None, last: datetime | None, limit: int, as_json: bool) -> int:
    """List the ranges in which SYMBOL has no bars, oldest first; exit code 1 if there is one."""
    frame = timeframe_named(timeframe)
    session = Session.open()
    rules, span = _rules(session.settings, first, last)
    with session.database() as connection:
        require_known_symbols(connection, [symbol])
        calendars = read_calendar_rules(connection, session.settings.calendar)
        rules = replace(rules, calendar=calendars.calendar_of(symbol))
        rows = [
            {"first": gap.first, "last": gap.last, "bars": gap.bars}
            for gap in islice(find_gaps(connection, symbol, frame, span, rules), limit)
        ]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            row |= {name: _shown(row[name], frame) for name in ("first", "last")}
        empty = f"no gaps in the {frame.name} bars of {symbol}, {span.first} to {span.last}"
        print_table(rows, {name: name for name in ("first", "last", "bars")}, empty)
    return 1 if rows else 0


def _rules(settings: Settings, first: datetime | None, last: datetime | None) -> tuple[LoadRules, Span]:
    """The rules for regular sessions up to now, and the range of days."""
    rules = LoadRules(
        now=datetime.now(UTC), grace_seconds=settings.load_grace_seconds, hour_anchor=settings.load_hour_anchor
    )
    end = last.date() if last else rules.today
    begin = first.date() if first else end - timedelta(days=_YEAR)
    if begin > end:
        raise BadInputError(f"--from {begin} is after --to {end}")
    return rules, Span(begin, end)


def _shown(moment: Any, frame: Timeframe) -> str:
    return show_bar_time(bar_moment(frame, moment), frame.name)
