"""Which bars a value is computed from, so that every run that computes it takes the same.

The nightly run, a fill and a replay read different numbers of bars. TA-Lib's smoothings and running sums depend on the
bar they start at, if only in the last digits. So each definition has a window before each bar, which starts where a
block of BLOCK units of the timeframe begins: the same start for all bars whose window begins in that block, and for
every run. The window is at least as long as the function needs (warmup.py), or begins at the first bar of the symbol.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np

from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.analysis.flat import longest_calm
from streamworkers.analysis.warmup import WHOLE, bars_needed, input_columns
from streamworkers.market.bars.bars import Bars, Starts
from streamworkers.market.calendar.timeframes import Timeframe

BLOCK: Final = 64
# Windows have one of these lengths, so that definitions share them; more bars than the last are every bar.
_LENGTHS = (64, 128, 256, 560, 1024, 2048, 4096, 8192, 16384)
_BARS_OF_ALL_COLUMNS = 560
PATTERN_BARS = 64
CONFIDENCE_BARS = 560
_DAYS = {"day": 1, "week": 7, "month": 28}
_MILLISECONDS = {"1min": 60_000, "hour": 3_600_000}


@dataclass(frozen=True, slots=True)
class History:
    """Bars of a symbol up to the as-of.

    `recent` are the newest bars. `longer` are these with older ones before them, which have only some `columns`, and
    NaN in the others. `complete` is whether the first of them is the symbol's first bar, `cut` whether a limit kept
    bars from being read that definitions need, and `version` that of the stored bars. `recomputes` is whether all
    outdated results of the symbol are computed from it.
    """

    recent: Bars
    longer: Bars
    complete: bool = True
    columns: tuple[str, ...] = ()
    cut: bool = False
    version: int = 0
    recomputes: bool = False

    def require_valid(self, symbol: str) -> None:
        """Raise BadInputError if a value that was read is not finite or the times do not strictly increase."""
        self.recent.require_valid(symbol)
        if self.longer is not self.recent:
            self.longer.at(slice(0, len(self.longer) - len(self.recent) + 1)).require_valid(symbol, self.columns)

    def of_length(self, length: int | None) -> Bars | None:
        """The bars to take windows of a length from, None if the history lacks bars that every window has to have."""
        if length is WHOLE:
            return self.longer if self.complete else None
        return self.recent if length <= _BARS_OF_ALL_COLUMNS else self.longer


def as_history(series: Bars | History) -> History:
    """The history that consists of a whole series."""
    return series if isinstance(series, History) else History(series, series)


class Window:
    """The bars from which the values at some of the newest of them are computed.

    `first` is the index in `bars` of the first of these. `offset` is what has to be added to an index in `bars` for
    that in the recent bars of the history. If `partial`, columns may lack; if `cut`, earlier bars do.
    """

    def __init__(self, bars: Bars, first: int, offset: int, *, partial: bool, cut: bool) -> None:
        self.bars, self.first, self.offset, self._partial, self.cut = bars, first, offset, partial, cut

    @cached_property
    def calm(self) -> int:
        """`longest_calm` of the bars; where columns lack, all bars count as calm, because they may be."""
        return len(self.bars) if self._partial else longest_calm(self.bars)


class HistoryWindows:
    """The windows of the last bars of a history, each cut out of its bars once for all definitions."""

    def __init__(self, history: History, last_bars: int, timeframe: Timeframe) -> None:
        self._history, self._last_bars, self._block = history, last_bars, _block(timeframe)
        self._windows: dict[tuple[int | None, bool], list[Window]] = {}

    def of_length(self, length: int | None) -> list[Window]:
        """The windows of a length, oldest first; none if the history lacks bars that every window has to have."""
        found = self._windows.get((length, False))
        return self._make(length, self._history.of_length(length), False) if found is None else found

    def of_all_columns(self, length: int) -> list[Window]:
        """The windows of a length with all columns, oldest first."""
        found = self._windows.get((length, True))
        return self._make(length, self._history.recent, True) if found is None else found

    def at(self, index: int, length: int) -> Window:
        """The window with all columns in which the recent bar `index` is one of the newest."""
        found = self.of_all_columns(length)
        return found[bisect_right(found, index, key=lambda window: window.first + window.offset) - 1]

    def _make(self, length: int | None, bars: Bars | None, all_columns: bool) -> list[Window]:
        made = [] if bars is None or not len(bars) else list(self._cut(bars, length))
        self._windows[length, all_columns] = made
        return made

    def _cut(self, bars: Bars, length: int | None) -> Iterator[Window]:
        end, recent = len(bars), self._history.recent
        offset, partial = len(recent) - end, bars is not recent
        first, is_cut = max(0, end - self._last_bars), self._history.cut
        if length is WHOLE or end <= length:
            yield Window(bars, first, offset, partial=partial, cut=is_cut)
            return
        for start, begin, after in self._find_starts(bars.starts, first, length):
            part = bars.at(slice(start, after))
            yield Window(part, begin - start, offset + start, partial=partial, cut=is_cut and start == 0)

    def _find_starts(self, times: Starts, first: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Yield where a window starts, the first of the bars that it serves, and the first one after them."""
        end = len(times)
        if end - first == 1:
            block = int(times[end - length]) // self._block * self._block
            yield int(times.searchsorted(block)), first, end
            return
        begins = np.maximum(np.arange(first - length + 1, end - length + 1), 0)
        starts = np.searchsorted(times, times[begins] // self._block * self._block)
        for place, after in pairwise((0, *(np.flatnonzero(np.diff(starts)) + 1).tolist(), len(starts))):
            yield int(starts[place]), first + place, first + after


class BarsToRead(NamedTuple):
    """The newest bars to read with all columns, and how many (None: all) of some columns."""

    recent: int
    longer: int | None
    columns: tuple[str, ...]
    limited: bool = False

    def at_most(self, max_bars: int | None) -> "BarsToRead":
        """The same, but no more than `max_bars` (None: no limit)."""
        if max_bars is None or (self.longer is not None and self.longer <= max_bars):
            return self
        return BarsToRead(min(self.recent, max_bars), max_bars, self.columns, limited=True)


def window_length(needed: int | None) -> int | None:
    """The length of the windows of a function that needs so many bars."""
    place = len(_LENGTHS) if needed is WHOLE else bisect_left(_LENGTHS, needed)
    return _LENGTHS[place] if place < len(_LENGTHS) else WHOLE


def pattern_length(needed: int) -> int:
    """The length of the windows of a pattern that needs so many bars."""
    return window_length(max(needed, PATTERN_BARS)) or needed


def definition_length(definition: IndicatorDefinition, timeframe: Timeframe) -> int | None:
    """The length of the windows of an indicator; short ones are no shorter than those that most have."""
    length = window_length(bars_needed(definition.function, definition.all_params(), timeframe.name))
    return length if length is WHOLE else max(length, _BARS_OF_ALL_COLUMNS)


def bars_to_read(
    definitions: Sequence[IndicatorDefinition], timeframe: Timeframe, last_bars: int, pattern_bars: int = PATTERN_BARS
) -> BarsToRead:
    """The bars that indicators, and patterns whose windows have up to `pattern_bars`, need at each of the last bars."""
    more = BLOCK + last_bars
    recent, longer, whole = max(_BARS_OF_ALL_COLUMNS, pattern_bars) + more, 0, False
    columns: dict[str, None] = {}
    for definition in definitions:
        length = definition_length(definition, timeframe)
        if length is not WHOLE and length <= _BARS_OF_ALL_COLUMNS:
            continue
        whole, longer = whole or length is WHOLE, max(longer, length or 0)
        columns.update(dict.fromkeys(input_columns(definition.function)))
    return BarsToRead(recent, WHOLE if whole else max(longer + more, recent), tuple(columns))


def _block(timeframe: Timeframe) -> int:
    units = _MILLISECONDS if timeframe.intraday else _DAYS
    return BLOCK * units[timeframe.name]
