"""Finds the bars that the calendar expects between those that a run decides, and that are not there."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from streamworkers.alerts.engine.reading import SymbolWork
from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.loading.absence import is_absent, read_absent
from streamworkers.market.bars.bars import Starts, is_among
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import moment_of, start_of, windows_between
from streamworkers.results.bar_times import to_table_time

_DAY = timedelta(days=1)
_MOST_NAMED = 5


def find_missing_bars(
    connection: Connection, timeframe: Timeframe, works: Mapping[str, SymbolWork]
) -> dict[str, dict[str, object]]:
    """How many bars after the mark of each series are missing, and the first of them; series without any are absent.

    Bars that the provider does not have are not missing, and neither are those before the first decision.
    """
    calendars = read_calendar_rules(connection, load_settings().calendar)
    expected: dict[tuple[str, datetime, datetime], Starts] = {}
    missing: dict[str, Starts] = {}
    for symbol, work in works.items():
        decided = work.mark.evaluated_through
        if decided is None or not work.starts or work.starts[-1] <= decided:
            continue
        key = (calendars.calendar_of(symbol), decided, work.starts[-1])
        if key not in expected:
            expected[key] = _expect_between(timeframe, *key)
        gaps = _without_stored(timeframe, expected[key], work, key[0])
        if len(gaps):
            missing[symbol] = gaps
    absent = read_absent(connection, timeframe, missing) if missing else {}
    left = {symbol: gaps[~is_absent(gaps, absent.get(symbol, ()))] for symbol, gaps in missing.items()}
    return {symbol: _describe(timeframe, gaps) for symbol, gaps in left.items() if len(gaps)}


def _expect_between(timeframe: Timeframe, calendar: str, after: datetime, last: datetime) -> Starts:
    days = after.date() - _DAY, last.date() + _DAY  # a session may have another date than UTC has
    starts = windows_between(*days, calendar=calendar).expected(timeframe, *days)
    first, end = (start_of(to_table_time(timeframe, moment)) for moment in (after, last))
    return starts[(starts > first) & (starts < end)]


def _without_stored(timeframe: Timeframe, expected: Starts, work: SymbolWork, calendar: str) -> Starts:
    assert work.bars is not None
    if not len(expected):
        return expected
    day = work.starts[-1].date()
    stored = windows_between(day, day, calendar=calendar).window_of(timeframe, work.bars.starts)
    return expected[~is_among(expected, stored)]


def _describe(timeframe: Timeframe, gaps: Starts) -> dict[str, object]:
    named = [moment_of(timeframe, start).isoformat() for start in gaps[:_MOST_NAMED].tolist()]
    return {"count": len(gaps), "bars": named}
