"""The jobs `indicators`, `patterns` and `analysis`, which does both and reads each symbol's bars only once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, ClassVar

from pydantic import Field

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.patterns import longest_pattern
from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome
from streamworkers.errors import BadInputError
from streamworkers.loading.provenance import has_extended_hours
from streamworkers.market.bars.as_of import AsOfRule, FixedAsOf
from streamworkers.market.calendar.symbol_calendars import CalendarRules, read_calendar_rules
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, timeframe_named
from streamworkers.results import definitions
from streamworkers.results.bar_times import to_moment, to_series_time, to_table_time
from streamworkers.results.histories import HistoryReader, Work
from streamworkers.results.pattern_events import pattern_event
from streamworkers.results.series_versions import clear_outdated
from streamworkers.results.store import save_indicators, save_patterns
from streamworkers.results.symbol_results import SymbolResults, compute_symbol

# A year has 98,000 minutes, and sums need every bar.
_SYMBOLS_AT_ONCE = {"1min": 4, "hour": 25}


class AnalysisParameters(JobParameters):
    """Parameters of the analysis jobs.

    Without `max_bars`, as many bars are read as the definitions need for the values of the symbol's whole history. With
    it, no more are, and no value that was computed from more is replaced. `last_bars` is the number of newest bars that
    results are stored for, each computed as of its own bar; more than 1 fills in history. With `recompute`, outdated
    results of a symbol are computed again, too; if the request does not say, a run with all enabled definitions and all
    bars does so. `max_stale` is the share of symbols that may be stale, by default that of the setting; a run with more
    is no success. All other fields are filled in at enqueue, so that all items of a run share them: the definitions,
    the calendars of symbols by pattern, and by calendar the newest bar that the run may see.
    """

    max_bars: int | None = Field(None, ge=1, le=100_000)
    last_bars: int = Field(1, ge=1, le=100_000)
    max_stale: float | None = Field(None, ge=0, le=1)
    indicator_definitions: tuple[dict[str, Any], ...] = ()
    pattern_definitions: tuple[dict[str, Any], ...] = ()
    calendars: dict[str, str] = Field(default_factory=dict)
    newest_bars: dict[str, str] = Field(default_factory=dict)
    recompute: bool = False


class Analysis(Job[AnalysisParameters]):
    """Computes indicators and patterns of every symbol at its newest closed bar."""

    name: ClassVar[str] = "analysis"
    queue: ClassVar[str] = "analysis"
    batch_size: ClassVar[int] = 50
    parameters: ClassVar[type[JobParameters]] = AnalysisParameters
    with_indicators: ClassVar[bool] = True
    with_patterns: ClassVar[bool] = True
    preload: ClassVar[tuple[str, ...]] = ("talib.abstract",)
    needs_bars: ClassVar[bool] = True

    def __init__(self) -> None:
        # Parsed once for a run, not for each of its batches.
        self._parameters: AnalysisParameters | None = None
        self._indicators: Sequence[IndicatorDefinition] = ()
        self._patterns: Sequence[PatternDefinition] = ()

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Fix the timeframe, the definitions and the as-of."""
        timeframe = timeframe_named(request.timeframe or "day")
        parameters = self._add_definitions(connection, request.parameters or {}, timeframe.name)
        settings = load_settings()
        calendars = read_calendar_rules(connection, settings.calendar)
        as_of = _fix_as_of(connection, request, timeframe, calendars)
        values = parameters.model_dump(mode="json") | {
            "max_stale": settings.max_stale_share if parameters.max_stale is None else parameters.max_stale,
            "calendars": dict(calendars.patterns),
            "newest_bars": {calendar: newest.isoformat() for calendar, newest in as_of.newest.items()},
        }
        return replace(request, timeframe=timeframe.name, as_of=as_of.moment, parameters=values)

    def execute(self, items: Sequence[Item], context: Context[AnalysisParameters]) -> Iterator[Outcome]:
        """Read the bars of all items, a group at a time, and compute each symbol."""
        assert context.timeframe is not None and context.as_of is not None  # noqa: PT018  # set by `prepare`
        timeframe, parameters = timeframe_named(context.timeframe), context.parameters
        self._parse_definitions(parameters)
        reader = HistoryReader(
            timeframe,
            self._indicators,
            longest_pattern(self._patterns),
            parameters.last_bars,
            parameters.max_bars,
            self._kinds(),
            parameters.recompute,
        )
        for newest, members in _group_by_newest(items, timeframe, parameters, context.as_of):
            symbols = [item.symbol for item in members]
            found = reader.read(context.connection, symbols, newest)
            for item in members:
                work = found.get(item.symbol)
                if work is None:
                    yield Failed(item, f"no {timeframe.name} bars of {item.symbol} up to {newest}", permanent=True)
                elif work.history.recent.times[-1] != to_series_time(newest):
                    last = to_moment(timeframe, work.history.recent.times[-1]).astimezone(EXCHANGE_ZONE)
                    yield Completed(item, None, {"stale": (last if timeframe.intraday else last.date()).isoformat()})
                else:
                    yield self._analyse(item, work, timeframe)

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Store the results of symbols that no newer run has completed; each new or changed detection is an event."""
        done = [(outcome.item, outcome.value) for outcome in completed if outcome.value is not None]
        if not done:
            return []
        run_id, timeframe, evaluated = done[0][0].run_id, done[0][1].timeframe.name, done[0][1].evaluated
        newer = ledger.find_superseded(connection, run_id, [item.symbol for item, _ in done])
        results: list[SymbolResults] = [value for item, value in done if item.symbol not in newer]
        cut = any(each.cut for each in results)
        rows = [row for each in results for row in each.indicators]
        save_indicators(connection, run_id, timeframe, rows, [gap for each in results for gap in each.gaps], cut=cut)
        recomputed = {each.scan.symbol: each.version for each in results if each.recomputes}
        if recomputed:
            clear_outdated(connection, timeframe, recomputed, self._kinds())
        if not self.with_patterns:
            return []
        patterns = [row for each in results for row in each.patterns]
        scans = [] if cut else [each.scan for each in results]
        changed = save_patterns(connection, run_id, timeframe, patterns, scans, evaluated)
        return [pattern_event(row, timeframe, run_id) for row in changed]

    def _add_definitions(self, connection: Connection, given: Mapping[str, Any], timeframe: str) -> AnalysisParameters:
        """Add the enabled definitions where none are given. Raises BadInputError for one that breaks a rule."""
        added = dict(given)
        is_usual = not any(given.get(name) for name in ("indicator_definitions", "pattern_definitions", "max_bars"))
        added.setdefault("recompute", is_usual)
        if self.with_indicators and not given.get("indicator_definitions"):
            added["indicator_definitions"] = definitions.read_enabled_indicators(connection, timeframe)
        if self.with_patterns and not given.get("pattern_definitions"):
            added["pattern_definitions"] = definitions.read_enabled_patterns(connection, timeframe)
        parameters = AnalysisParameters.model_validate(added)
        definitions.parse_indicators(parameters.indicator_definitions)
        definitions.parse_patterns(parameters.pattern_definitions)
        return parameters

    def _kinds(self) -> list[str]:
        return [*(["indicators"] if self.with_indicators else []), *(["patterns"] if self.with_patterns else [])]

    def _parse_definitions(self, parameters: AnalysisParameters) -> None:
        if self._parameters is not parameters:
            self._indicators = definitions.parse_indicators(parameters.indicator_definitions)
            self._patterns = definitions.parse_patterns(parameters.pattern_definitions)
            self._parameters = parameters

    def _analyse(self, item: Item, work: Work, timeframe: Timeframe) -> Outcome:
        try:
            results = compute_symbol(
                item.symbol, work.history, timeframe, self._indicators, self._patterns, work.last_bars
            )
        except BadInputError as error:
            return Failed(item, str(error), permanent=True)
        missing = {"missing": results.missing} if results.missing else {}
        patterns = {"patterns": len(results.patterns)} if self.with_patterns else {}
        return Completed(item, results, {"bars_used": results.bars_used, **missing, **patterns})


class Indicators(Analysis):
    """Computes the indicators of every symbol: the analysis without patterns."""

    name: ClassVar[str] = "indicators"
    with_patterns: ClassVar[bool] = False


class Patterns(Analysis):
    """Detects the patterns of every symbol: the analysis without indicators."""

    name: ClassVar[str] = "patterns"
    with_indicators: ClassVar[bool] = False


def _fix_as_of(
    connection: Connection, request: RunRequest, timeframe: Timeframe, calendars: CalendarRules
) -> FixedAsOf:
    """Return what a run may see. Who names a moment, as a tick does, means the newest bar that was closed then."""
    is_wide = timeframe.name == "hour" and has_extended_hours(connection, request.symbols, timeframe)
    is_named = request.as_of is not None or request.origin.trigger == "schedule"
    moment = request.moment() if request.as_of is None else min(request.as_of, datetime.now(UTC))
    return AsOfRule(timeframe, calendars, is_wide).fix(connection, request.symbols, moment, exactly=is_named)


def _group_by_newest(
    items: Sequence[Item], timeframe: Timeframe, parameters: AnalysisParameters, as_of: datetime
) -> Iterator[tuple[date | datetime, list[Item]]]:
    """Yield items by the newest bar that they may see, as many at a time as their histories fit into memory."""
    groups: dict[date | datetime, list[Item]] = {}
    if not parameters.newest_bars:  # of a run that an earlier release prepared: its as-of is the start of that bar
        groups[to_table_time(timeframe, as_of)] = list(items)
    else:
        parse = datetime.fromisoformat if timeframe.intraday else date.fromisoformat
        rules = CalendarRules(parameters.calendars)
        for item in items:
            newest = parse(parameters.newest_bars[rules.calendar_of(item.symbol)])
            groups.setdefault(newest, []).append(item)
    most = _SYMBOLS_AT_ONCE.get(timeframe.name, len(items))
    for newest, members in groups.items():
        for first in range(0, len(members), most):
            yield newest, members[first : first + most]
