"""Computes the indicators and patterns of one symbol, in the form in which they are stored. No database, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.indicators import compute_last_bars
from streamworkers.analysis.patterns import detect
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.results.bar_times import to_moment
from streamworkers.results.store import IndicatorRow, PatternRow, Scan


@dataclass(frozen=True, slots=True)
class SymbolResults:
    """The results of one symbol at its last bars.

    `evaluated` are the patterns that were looked for, `missing` the definitions without a value because the series has
    too few bars, both by name. `bars_used` is the length of the series.
    """

    timeframe: Timeframe
    indicators: list[IndicatorRow]
    patterns: list[PatternRow]
    scan: Scan
    evaluated: tuple[str, ...]
    missing: list[str]
    bars_used: int


def compute_symbol(
    symbol: str,
    series: Bars,
    timeframe: Timeframe,
    indicators: Sequence[IndicatorDefinition],
    patterns: Sequence[PatternDefinition],
    last_bars: int,
) -> SymbolResults:
    """Compute all definitions at the last `last_bars` bars (1 or more) of a series of at least one bar.

    Raises BadInputError if the series holds a value that is not finite, or times that do not increase.
    """
    series.require_valid(symbol)
    first = max(0, len(series) - last_bars)
    starts = [to_moment(timeframe, time) for time in series.times[first:]]
    values = compute_last_bars(indicators, series, last_bars)
    detections, too_short = detect(patterns, series, last_bars)
    return SymbolResults(
        timeframe=timeframe,
        indicators=[
            IndicatorRow(symbol, name, starts[bar.bar_index - first], bar.value, bar.outputs, len(series))
            for name, bars in values.values.items()
            for bar in bars
        ],
        patterns=[PatternRow(symbol, starts[found.bar_index - first], found) for found in detections],
        scan=Scan(symbol, starts[0], starts[-1]),
        evaluated=tuple(definition.name for definition in patterns),
        missing=[*values.missing, *too_short],
        bars_used=len(series),
    )
