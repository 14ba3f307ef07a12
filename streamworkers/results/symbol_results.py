"""Computes the indicators and patterns of one symbol, in the form in which they are stored. No database, no clock."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.history import History, as_history
from streamworkers.analysis.indicators import IndicatorValues, compute_last_bars
from streamworkers.analysis.patterns import detect
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.results.bar_times import to_moment
from streamworkers.results.store import IndicatorRow, PatternRow, Scan, ValueGap


@dataclass(frozen=True, slots=True)
class SymbolResults:
    """The results of one symbol at its last bars.

    `evaluated` are the patterns that were looked for, `missing` the definitions without a value because the series has
    too few bars, both by name. `bars_used` is the number of bars that were read,
    `cut` whether a limit kept others from being read, and
    `version` that of the stored bars, and `recomputes` whether no outdated result of the symbol remains.
    """

    timeframe: Timeframe
    indicators: list[IndicatorRow]
    gaps: list[ValueGap]
    patterns: list[PatternRow]
    scan: Scan
    evaluated: tuple[str, ...]
    missing: list[str]
    bars_used: int
    cut: bool
    version: int
    recomputes: bool


def compute_symbol(
    symbol: str,
    series: Bars | History,
    timeframe: Timeframe,
    indicators: Sequence[IndicatorDefinition],
    patterns: Sequence[PatternDefinition],
    last_bars: int,
) -> SymbolResults:
    """Compute all definitions at the last `last_bars` bars (1 or more) of a series of at least one bar.

    Raises BadInputError if the series holds a value that is not finite, or times that do not increase.
    """
    history = as_history(series)
    history.require_valid(symbol)
    bars = history.recent
    first = max(0, len(bars) - last_bars)
    starts = [to_moment(timeframe, time) for time in bars.times[first:]]
    values = compute_last_bars(indicators, history, last_bars, timeframe)
    detections, too_short = detect(patterns, history, last_bars, timeframe)
    return SymbolResults(
        timeframe=timeframe,
        indicators=[
            IndicatorRow(symbol, name, starts[bar.bar_index - first], bar.value, bar.outputs, used, history.version)
            for name, found in values.values.items()
            for bar, used in zip(found, values.bars_used[name], strict=True)
        ],
        gaps=[] if history.cut else list(_find_gaps(symbol, indicators, values, starts, first)),
        patterns=[PatternRow(symbol, starts[found.bar_index - first], found, history.version) for found in detections],
        scan=Scan(symbol, starts[0], starts[-1]),
        evaluated=tuple(definition.name for definition in patterns),
        missing=[*values.missing, *too_short],
        bars_used=len(history.longer),
        cut=history.cut,
        version=history.version,
        recomputes=history.recomputes,
    )


def _find_gaps(
    symbol: str,
    indicators: Sequence[IndicatorDefinition],
    values: IndicatorValues,
    starts: Sequence[datetime],
    first: int,
) -> Iterator[ValueGap]:
    """The ranges of bars from the index `first` on, which have these starts, at which an indicator has no value."""
    for definition in indicators:
        found = values.values.get(definition.name, [])
        if len(found) == len(starts):
            continue
        places = [-1, *(bar.bar_index - first for bar in found), len(starts)]
        for before, after in pairwise(places):
            if after - before > 1:
                yield ValueGap(symbol, definition.name, starts[before + 1], starts[after - 1])
