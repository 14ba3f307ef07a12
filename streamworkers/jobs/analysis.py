"""The jobs `indicators`, `patterns`, and `analysis`, which does both in one reading of the bars."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.analysis.indicators import indicator_values
from streamworkers.analysis.patterns import detect
from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.ledger import runs as ledger
from streamworkers.engine.outcome import Completed, Event, Failed, Outcome
from streamworkers.engine.redis.entry import Item
from streamworkers.engine.redis.keys import PATTERNS_CHANNEL
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars, time_unit
from streamworkers.market.bars.read import read_newest_time, read_series
from streamworkers.market.calendar.timeframes import (
    EXCHANGE_ZONE,
    Timeframe,
    bar_moment,
    newest_closed,
    timeframe_named,
)
from streamworkers.results import definitions
from streamworkers.results import store as results
from streamworkers.results.store import IndicatorRow, PatternRow, Scan

SCHEMA_VERSION = 1


class AnalysisParameters(JobParameters):
    """Parameters of the analysis jobs.

    `max_bars` is how many of the newest bars are read: an EMA of 200 needs about 1000 to forget where it began.
    `last_bars` is for how many of them results are stored, each as of its own bar; more than 1 fills history in.
    The definitions are filled in at enqueue, so that all items of a run share them.
    """

    max_bars: int = Field(1000, ge=1, le=100_000)
    last_bars: int = Field(1, ge=1, le=100_000)
    indicator_definitions: tuple[dict[str, Any], ...] = ()
    pattern_definitions: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class SymbolResults:
    """What was computed of one symbol."""

    timeframe: Timeframe
    indicators: list[IndicatorRow]
    patterns: list[PatternRow]
    scan: Scan
    evaluated: tuple[str, ...]


class Analysis(Job[AnalysisParameters]):
    """Indicators and patterns of the newest closed bar of every symbol."""

    name: ClassVar[str] = "analysis"
    queue: ClassVar[str] = "analysis"
    batch_size: ClassVar[int] = 50
    parameters: ClassVar[type[JobParameters]] = AnalysisParameters
    with_indicators: ClassVar[bool] = True
    with_patterns: ClassVar[bool] = True

    def __init__(self) -> None:
        # Checked once for a run, not for each of its batches.
        self._parameters: AnalysisParameters | None = None
        self._indicators: Sequence[IndicatorDefinition] = ()
        self._patterns: Sequence[PatternDefinition] = ()

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Fix the timeframe, the as-of and the definitions.

        The as-of becomes the newest closed bar, not after the one asked for, that any of the symbols has.
        """
        timeframe = timeframe_named(request.timeframe or "day")
        bound = _native(timeframe, newest_closed(timeframe, request.moment()), request.as_of)
        newest = read_newest_time(connection, request.symbols, timeframe, bound)
        given = AnalysisParameters.model_validate(request.parameters or {})
        indicators = given.indicator_definitions
        if self.with_indicators and not indicators:
            indicators = tuple(definitions.enabled_rows(definitions.list_indicators(connection), timeframe.name))
        patterns = given.pattern_definitions
        if self.with_patterns and not patterns:
            patterns = tuple(definitions.enabled_rows(definitions.list_patterns(connection), timeframe.name))
        filled = given.model_copy(update={"indicator_definitions": indicators, "pattern_definitions": patterns})
        definitions.indicator_definitions(filled.indicator_definitions)
        definitions.pattern_definitions(filled.pattern_definitions)
        return replace(
            request,
            timeframe=timeframe.name,
            as_of=bar_moment(timeframe, newest if newest is not None else bound),
            parameters=filled.model_dump(mode="json"),
        )

    def execute(self, items: Sequence[Item], context: Context[AnalysisParameters]) -> Iterator[Outcome]:
        """Read the bars of all items in one query and compute each symbol."""
        assert context.timeframe is not None
        assert context.as_of is not None
        parameters = context.parameters
        timeframe = timeframe_named(context.timeframe)
        as_of = context.as_of if timeframe.intraday else context.as_of.astimezone(EXCHANGE_ZONE).date()
        indicators, patterns = self._definitions(context)
        found = read_series(context.connection, [item.symbol for item in items], timeframe, as_of, parameters.max_bars)
        newest = np.datetime64(_naive(as_of), time_unit(timeframe))
        for item in items:
            series = found.get(item.symbol)
            if series is None:
                yield Failed(item, f"no {timeframe.name} bars of {item.symbol} up to {as_of}", permanent=True)
            elif series.times[-1] != newest:
                last = _moment(timeframe, series.times[-1])
                yield Completed(item, None, {"stale": _shown(last, timeframe)})
            else:
                yield self._analyse(item, series, timeframe, indicators, patterns, parameters.last_bars)

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Store the values and detections, unless a newer run has; each new or changed detection is an event."""
        done = [(outcome.item, outcome.value) for outcome in completed if outcome.value is not None]
        if not done:
            return []
        run_id, timeframe, evaluated = done[0][0].run_id, done[0][1].timeframe.name, done[0][1].evaluated
        newer = ledger.superseded(connection, run_id, [item.symbol for item, _ in done])
        if newer:
            done = [(item, value) for item, value in done if item.symbol not in newer]
        rows = [row for _, value in done for row in value.indicators]
        results.save_indicators(connection, run_id, timeframe, rows)
        if not self.with_patterns:
            return []
        changed = results.save_patterns(
            connection,
            run_id,
            timeframe,
            [row for _, value in done for row in value.patterns],
            [value.scan for _, value in done],
            evaluated,
        )
        return [_event(row, timeframe, run_id) for row in changed]

    def _definitions(
        self, context: Context[AnalysisParameters]
    ) -> tuple[Sequence[IndicatorDefinition], Sequence[PatternDefinition]]:
        if self._parameters is not context.parameters:
            self._indicators = definitions.indicator_definitions(context.parameters.indicator_definitions)
            self._patterns = definitions.pattern_definitions(context.parameters.pattern_definitions)
            self._parameters = context.parameters
        return self._indicators, self._patterns

    def _analyse(
        self,
        item: Item,
        series: Bars,
        timeframe: Timeframe,
        indicators: Sequence[IndicatorDefinition],
        patterns: Sequence[PatternDefinition],
        last_bars: int,
    ) -> Outcome:
        try:
            series.require_valid(item.symbol)
        except BadInputError as error:
            return Failed(item, str(error), permanent=True)
        first = max(0, len(series) - last_bars)
        moments = [_moment(timeframe, time) for time in series.times[first:]]
        values = indicator_values(indicators, series, last_bars)
        detections, unready = detect(patterns, series, last_bars)
        result: dict[str, Any] = {"bars_used": len(series)}
        if values.missing or unready:
            result["missing"] = [*values.missing, *unready]
        return Completed(
            item,
            SymbolResults(
                timeframe=timeframe,
                indicators=[
                    IndicatorRow(item.symbol, name, moments[bar.bar_index - first], bar.value, bar.outputs, len(series))
                    for name, bars in values.values.items()
                    for bar in bars
                ],
                patterns=[PatternRow(item.symbol, moments[found.bar_index - first], found) for found in detections],
                scan=Scan(item.symbol, moments[0], moments[-1]),
                evaluated=tuple(definition.name for definition in patterns),
            ),
            result | {"patterns": len(detections)} if self.with_patterns else result,
        )


class Indicators(Analysis):
    """Indicators alone."""

    name: ClassVar[str] = "indicators"
    with_patterns: ClassVar[bool] = False


class Patterns(Analysis):
    """Patterns alone."""

    name: ClassVar[str] = "patterns"
    with_indicators: ClassVar[bool] = False


def _native(timeframe: Timeframe, closed: date | datetime, asked: datetime | None) -> date | datetime:
    """The older of the newest closed bar and what was asked for, as the timeframe's table has it."""
    if asked is None:
        return closed
    wanted: date | datetime = asked if timeframe.intraday else asked.astimezone(EXCHANGE_ZONE).date()
    return min(closed, wanted)


def _naive(moment: date | datetime) -> date | datetime:
    return moment.astimezone(UTC).replace(tzinfo=None) if isinstance(moment, datetime) else moment


def _moment(timeframe: Timeframe, time: "np.datetime64") -> datetime:
    stamp = time.item()
    assert isinstance(stamp, date)
    return stamp.replace(tzinfo=UTC) if isinstance(stamp, datetime) else bar_moment(timeframe, stamp)


def _event(row: dict[str, Any], timeframe: str, run_id: int) -> Event:
    frame = timeframe_named(timeframe)
    payload = {
        "schema_version": SCHEMA_VERSION,
        "symbol": row["symbol"],
        "pattern_name": row["pattern_name"],
        "confidence": row["confidence"],
        "direction": row["direction"],
        "timeframe": timeframe,
        "bar_time": row["bar_time"].astimezone(UTC if frame.intraday else EXCHANGE_ZONE).isoformat(),
        "detected_at": row["detected_at"].isoformat(),
        "run_id": run_id,
        "metadata": row["metadata"],
    }
    return Event(PATTERNS_CHANNEL, payload)


def _shown(moment: datetime, timeframe: Timeframe) -> str:
    local = moment.astimezone(EXCHANGE_ZONE)
    return local.isoformat() if timeframe.intraday else local.date().isoformat()
