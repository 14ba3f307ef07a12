"""The jobs `indicators`, `patterns` and `analysis`, which does both and reads each symbol's bars only once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.read import read_newest_time, read_series
from streamworkers.market.calendar.timeframes import (
    EXCHANGE_ZONE,
    Timeframe,
    bar_moment,
    newest_closed,
    timeframe_named,
)
from streamworkers.results import definitions
from streamworkers.results.bar_times import to_moment, to_series_time, to_table_time
from streamworkers.results.pattern_events import pattern_event
from streamworkers.results.store import save_indicators, save_patterns
from streamworkers.results.symbol_results import SymbolResults, compute_symbol


class AnalysisParameters(JobParameters):
    """Parameters of the analysis jobs.

    `max_bars` is the number of newest bars read: an EMA of 200 needs about 1000 to be independent of its first value.
    `last_bars` is the number of newest bars that results are stored for, each computed as of its own bar; more than 1
    fills in history. The definitions are filled in at enqueue, so that all items of a run share them.
    """

    max_bars: int = Field(1000, ge=1, le=100_000)
    last_bars: int = Field(1, ge=1, le=100_000)
    indicator_definitions: tuple[dict[str, Any], ...] = ()
    pattern_definitions: tuple[dict[str, Any], ...] = ()


class Analysis(Job[AnalysisParameters]):
    """Indicators and patterns of every symbol at its newest closed bar."""

    name: ClassVar[str] = "analysis"
    queue: ClassVar[str] = "analysis"
    batch_size: ClassVar[int] = 50
    parameters: ClassVar[type[JobParameters]] = AnalysisParameters
    with_indicators: ClassVar[bool] = True
    with_patterns: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("talib.abstract",)

    def __init__(self) -> None:
        # Parsed once for a run, not for each of its batches.
        self._parameters: AnalysisParameters | None = None
        self._indicators: Sequence[IndicatorDefinition] = ()
        self._patterns: Sequence[PatternDefinition] = ()

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Fix the timeframe, the definitions and the as-of.

        The as-of is the newest closed bar that any of the symbols has, and not newer than the requested one.
        """
        timeframe = timeframe_named(request.timeframe or "day")
        parameters = self._add_definitions(connection, request.parameters or {}, timeframe.name)
        bound = newest_closed(timeframe, request.moment())
        if request.as_of is not None:
            bound = min(bound, to_table_time(timeframe, request.as_of))
        newest = read_newest_time(connection, request.symbols, timeframe, bound) or bound
        as_of, values = bar_moment(timeframe, newest), parameters.model_dump(mode="json")
        return replace(request, timeframe=timeframe.name, as_of=as_of, parameters=values)

    def execute(self, items: Sequence[Item], context: Context[AnalysisParameters]) -> Iterator[Outcome]:
        """Read the bars of all items in one query and compute each symbol."""
        assert context.timeframe is not None and context.as_of is not None  # noqa: PT018  # set by `prepare`
        timeframe, parameters = timeframe_named(context.timeframe), context.parameters
        as_of = to_table_time(timeframe, context.as_of)
        self._parse_definitions(parameters)
        found = read_series(context.connection, [item.symbol for item in items], timeframe, as_of, parameters.max_bars)
        newest = to_series_time(as_of)
        for item in items:
            series = found.get(item.symbol)
            if series is None:
                yield Failed(item, f"no {timeframe.name} bars of {item.symbol} up to {as_of}", permanent=True)
            elif series.times[-1] != newest:
                last = to_moment(timeframe, series.times[-1]).astimezone(EXCHANGE_ZONE)
                yield Completed(item, None, {"stale": (last if timeframe.intraday else last.date()).isoformat()})
            else:
                yield self._analyse(item, series, timeframe, parameters.last_bars)

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Store the results of symbols that no newer run has completed; each new or changed detection is an event."""
        done = [(outcome.item, outcome.value) for outcome in completed if outcome.value is not None]
        if not done:
            return []
        run_id, timeframe, evaluated = done[0][0].run_id, done[0][1].timeframe.name, done[0][1].evaluated
        newer = ledger.find_superseded(connection, run_id, [item.symbol for item, _ in done])
        results: list[SymbolResults] = [value for item, value in done if item.symbol not in newer]
        save_indicators(connection, run_id, timeframe, [row for each in results for row in each.indicators])
        if not self.with_patterns:
            return []
        patterns = [row for each in results for row in each.patterns]
        changed = save_patterns(connection, run_id, timeframe, patterns, [each.scan for each in results], evaluated)
        return [pattern_event(row, timeframe, run_id) for row in changed]

    def _add_definitions(self, connection: Connection, given: Mapping[str, Any], timeframe: str) -> AnalysisParameters:
        """Add the enabled definitions where none are given. Raises BadInputError for one that breaks a rule."""
        added = dict(given)
        if self.with_indicators and not given.get("indicator_definitions"):
            added["indicator_definitions"] = definitions.read_enabled_indicators(connection, timeframe)
        if self.with_patterns and not given.get("pattern_definitions"):
            added["pattern_definitions"] = definitions.read_enabled_patterns(connection, timeframe)
        parameters = AnalysisParameters.model_validate(added)
        definitions.parse_indicators(parameters.indicator_definitions)
        definitions.parse_patterns(parameters.pattern_definitions)
        return parameters

    def _parse_definitions(self, parameters: AnalysisParameters) -> None:
        if self._parameters is not parameters:
            self._indicators = definitions.parse_indicators(parameters.indicator_definitions)
            self._patterns = definitions.parse_patterns(parameters.pattern_definitions)
            self._parameters = parameters

    def _analyse(self, item: Item, series: Bars, timeframe: Timeframe, last_bars: int) -> Outcome:
        try:
            results = compute_symbol(item.symbol, series, timeframe, self._indicators, self._patterns, last_bars)
        except BadInputError as error:
            return Failed(item, str(error), permanent=True)
        missing = {"missing": results.missing} if results.missing else {}
        patterns = {"patterns": len(results.patterns)} if self.with_patterns else {}
        return Completed(item, results, {"bars_used": results.bars_used, **missing, **patterns})


class Indicators(Analysis):
    """The job `indicators`: the analysis without patterns."""

    name: ClassVar[str] = "indicators"
    with_patterns: ClassVar[bool] = False


class Patterns(Analysis):
    """The job `patterns`: the analysis without indicators."""

    name: ClassVar[str] = "patterns"
    with_indicators: ClassVar[bool] = False
