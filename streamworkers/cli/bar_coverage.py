"""`streamworkers bars coverage` and `bars gaps`: what is stored against what the sessions of the exchange give."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

import click

from streamworkers.cli.session import Day, Session, json_option, limit_option, print_json, print_table, show_bar_time
from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.loading.coverage import compute_coverage, find_gaps
from streamworkers.loading.plan import LoadRules, Span
from streamworkers.market.calendar.timeframes import Timeframe, bar_moment, timeframe_named
from streamworkers.market.universes.store import resolve

F = TypeVar("F", bound=Callable[..., Any])
_YEAR = 365


def _range_options(command: F) -> F:
    for option in (
        click.option("--to", "last", type=Day, help="Last day.  [default: today]"),
        click.option("--from", "first", type=Day, help="First day.  [default: a year before the last]"),
        click.option("--timeframe", default="day", show_default=True, help="1min, hour, day, week or month."),
    ):
        command = option(command)
    return command


@click.command(short_help="Expected, present and missing bars by symbol.")
@click.option("--universe", required=True, help="A universe, or several: 'dow30:nasdaq100' is the distinct union.")
@_range_options
@click.option("--all", "show_all", is_flag=True, help="List complete symbols too.")
@json_option
def coverage(
    universe: str, timeframe: str, first: datetime | None, last: datetime | None, show_all: bool, as_json: bool
) -> int:
    """Expected, present and missing bars by symbol; exit code 1 when any is missing."""
    frame = timeframe_named(timeframe)
    session = Session.open()
    rules, span = _rules(session.settings, first, last)
    with session.database() as connection:
        symbols = resolve(connection, universe)
        rows = compute_coverage(connection, symbols, frame, span, rules)
    short = [row for row in rows if row.missing]
    shown = [
        {"symbol": row.symbol, "expected": row.expected, "present": row.present, "missing": row.missing}
        for row in (rows if show_all else sorted(short, key=lambda row: (-row.missing, row.symbol)))
    ]
    expected, present = sum(row.expected for row in rows), sum(row.present for row in rows)
    if as_json:
        print_json(
            {
                "timeframe": frame.name,
                "first": span.first,
                "last": span.last,
                "symbols": len(rows),
                "complete": len(rows) - len(short),
                "expected": expected,
                "present": present,
                "rows": shown,
            }
        )
    else:
        share = f"{present / expected:.2%}" if expected else "nothing expected"
        click.echo(
            f"{frame.name} bars of {len(rows)} symbols, {span.first} to {span.last}: {present:,} of {expected:,}"
            f" ({share}), {len(rows) - len(short)} symbols complete"
        )
        if shown:
            print_table(shown, {name: name for name in ("symbol", "expected", "present", "missing")}, "")
        if short:
            click.echo(
                f"load them: streamworkers load --universe {universe} --timeframes {frame.name}"
                f" --from {span.first} --to {span.last} --fill-gaps"
            )
    return 1 if short else 0


@click.command(short_help="Where a symbol lacks bars.")
@click.argument("symbol")
@_range_options
@limit_option
@json_option
def gaps(symbol: str, timeframe: str, first: datetime | None, last: datetime | None, limit: int, as_json: bool) -> int:
    """The gaps of SYMBOL, oldest first; exit code 1 when there is one."""
    frame = timeframe_named(timeframe)
    session = Session.open()
    rules, span = _rules(session.settings, first, last)
    with session.database() as connection:
        rows = [
            {"first": gap.first, "last": gap.last, "bars": gap.bars}
            for gap in islice(find_gaps(connection, symbol, frame, span, rules), limit)
        ]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            row |= {name: _shown(row[name], frame) for name in ("first", "last")}
        empty = f"no gap in the {frame.name} bars of {symbol}, {span.first} to {span.last}"
        print_table(rows, {name: name for name in ("first", "last", "bars")}, empty)
    return 1 if rows else 0


def _rules(settings: Settings, first: datetime | None, last: datetime | None) -> tuple[LoadRules, Span]:
    """Regular sessions up to now, and the range."""
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
