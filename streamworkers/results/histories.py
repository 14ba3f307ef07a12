"""Reads the bars of symbols, as many of each as the definitions need."""

from collections.abc import Sequence
from datetime import date, datetime

from streamworkers.analysis.history import BarsToRead, History
from streamworkers.database import Connection
from streamworkers.market.bars.bars import Bars, concat
from streamworkers.market.bars.read import read_older, read_series
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.results.bar_times import to_moment, to_table_time


def read_histories(
    connection: Connection,
    symbols: Sequence[str],
    timeframe: Timeframe,
    as_of: date | datetime,
    bars: BarsToRead,
) -> dict[str, History]:
    """The history of each symbol up to and including `as_of`; symbols without bars are absent.

    Two queries: the newest bars with all columns, and older bars, of symbols that have them, with the columns that some
    definitions need them for.
    """
    recent = read_series(connection, symbols, timeframe, as_of, bars.recent)
    more = None if bars.longer is None else bars.longer - bars.recent
    before = {
        symbol: to_table_time(timeframe, to_moment(timeframe, found.times[0]))
        for symbol, found in recent.items()
        if len(found) == bars.recent and more != 0
    }
    older = read_older(connection, before, timeframe, more, bars.columns) if before else {}
    return {symbol: _join(found, older.get(symbol), bars) for symbol, found in recent.items()}


def _join(recent: Bars, older: Bars | None, bars: BarsToRead) -> History:
    longer = recent if older is None else concat([older, recent])
    is_full = bars.longer is not None and len(longer) >= bars.longer
    return History(recent, longer, complete=not is_full, columns=bars.columns, cut=is_full and bars.limited)
