"""Reads the bars of symbols, as many of each as the definitions need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.analysis.history import BarsToRead, History, bars_to_read
from streamworkers.database import Connection
from streamworkers.market.bars.bars import Bars, concat
from streamworkers.market.bars.read import count_bars, has_later_bars, read_older, read_series
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.results.bar_times import to_moment, to_table_time
from streamworkers.results.read import find_oldest_result
from streamworkers.results.series_versions import read_version_marks

_TABLES = {"indicators": "indicator_results", "patterns": "daily_patterns"}


@dataclass(frozen=True, slots=True)
class Work:
    """What is computed of a symbol: its history, and the number of newest bars that get results."""

    history: History
    last_bars: int


@dataclass(frozen=True, slots=True)
class HistoryReader:
    """Reads the work of a run.

    `kinds` are `indicators`, `patterns` or both. With `recompute`, outdated results of a symbol are part of its work if
    the run sees its newest bar; then all results of its bars from the first outdated one on are computed.
    """

    timeframe: Timeframe
    indicators: Sequence[IndicatorDefinition]
    pattern_bars: int
    last_bars: int
    max_bars: int | None
    kinds: Sequence[str]
    recompute: bool

    def read(self, connection: Connection, symbols: Sequence[str], newest: date | datetime) -> dict[str, Work]:
        """Return the work of each symbol at the bar `newest`; symbols without bars are absent."""
        states = read_version_marks(connection, symbols, self.timeframe.name, self.kinds)
        outdated = {
            symbol: state.outdated_from
            for symbol, state in states.items()
            if self.recompute and state.outdated_from and not has_later_bars(connection, symbol, self.timeframe, newest)
        }
        groups: dict[int, list[str]] = {}
        for symbol in symbols:
            last_bars = self.last_bars
            if symbol in outdated:
                last_bars = max(last_bars, self._count_outdated(connection, symbol, newest, outdated[symbol]))
            groups.setdefault(last_bars, []).append(symbol)
        found: dict[str, Work] = {}
        for last_bars, members in groups.items():
            bars = bars_to_read(self.indicators, self.timeframe, last_bars, self.pattern_bars).at_most(self.max_bars)
            for symbol, history in read_histories(connection, members, self.timeframe, newest, bars).items():
                state = states.get(symbol)
                if state is not None and (state.version or state.outdated_from):
                    history = replace(history, version=state.version, recomputes=symbol in outdated)
                found[symbol] = Work(history, last_bars)
        return found

    def _count_outdated(
        self, connection: Connection, symbol: str, newest: date | datetime, outdated_from: datetime
    ) -> int:
        """The number of newest bars of a symbol that hold all of its outdated results."""
        name = self.timeframe.name
        oldest = [find_oldest_result(connection, _TABLES[kind], symbol, name, outdated_from) for kind in self.kinds]
        first = min((moment for moment in oldest if moment is not None), default=None)
        if first is None:
            return 0
        return count_bars(connection, symbol, self.timeframe, to_table_time(self.timeframe, first), newest)


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
