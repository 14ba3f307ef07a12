"""The job `alert_test`: when would an alert have fired on stored bars? The result of each item says it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar

import msgspec
from pydantic import AwareDatetime, Field

from streamworkers.alerts.document import Alert, parse_alert
from streamworkers.alerts.store.work import factor_since, read_rebases
from streamworkers.alerts.stored_bars import BarPeriod, bars_before, read_stored_bars
from streamworkers.alerts.trial import try_stored
from streamworkers.alerts.trial_report import describe_decision, describe_trial
from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Item, Outcome
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import Timeframe, timeframe_named
from streamworkers.rules.market_vocabulary import MarketVocabulary

MOST_DECISIONS = 200
_VOCABULARY = MarketVocabulary()


class AlertTestParameters(JobParameters):
    """The document of the alert, the first bar to decide, and since when its constants are what they are."""

    document: dict[str, Any]
    since: AwareDatetime | None = None
    rule_from: AwareDatetime | None = None
    decisions: int = Field(MOST_DECISIONS, ge=0, le=MOST_DECISIONS)


class AlertTest(Job[AlertTestParameters]):
    """Tries an alert on stored bars: decides as the job `alerts` does, and writes nothing but its results.

    One item for each symbol. A result has what happened at the newest bars, oldest first, up to `decisions` of them.
    What cannot be tried, such as a symbol without bars, has a `note` instead: nothing is wrong with the pool.
    """

    name: ClassVar[str] = "alert_test"
    queue: ClassVar[str] = "maintenance"
    parameters: ClassVar[type[JobParameters]] = AlertTestParameters
    batch_size: ClassVar[int] = 10
    timeout_seconds: ClassVar[float] = 300.0
    preload: ClassVar[tuple[str, ...]] = ("streamworkers.analysis.indicators", "streamworkers.analysis.patterns")

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Require a timeframe and a sound document. Raises BadInputError."""
        del connection
        if request.timeframe is None:
            raise BadInputError("job 'alert_test' needs a timeframe")
        parse_alert((request.parameters or {}).get("document"), _VOCABULARY)
        return request

    def execute(self, items: Sequence[Item], context: Context[AlertTestParameters]) -> Iterator[Outcome]:
        """Decide the stored bars of each symbol as the alert would have, added before the first of them."""
        assert context.timeframe is not None  # `prepare` requires it
        alert, frame = parse_alert(context.parameters.document, _VOCABULARY), timeframe_named(context.timeframe)
        period = BarPeriod(context.as_of or datetime.now(UTC), context.parameters.since)
        for item in items:
            try:
                result = _try_symbol(context, alert, (item.symbol, frame), period)
            except BadInputError as error:
                result = {"symbol": item.symbol, "timeframe": frame.name, "bars": 0, "firings": 0, "note": str(error)}
            yield Completed(item, None, result)


def _try_symbol(
    context: Context[AlertTestParameters], alert: Alert, series: tuple[str, Timeframe], period: BarPeriod
) -> dict[str, Any]:
    symbol, frame = series
    before, wanted = bars_before(alert.rule, frame), context.parameters
    stored = read_stored_bars(context.connection, symbol, frame, before, period, load_settings().calendar)
    if not stored.closes:
        raise BadInputError(f"no closed {frame.name} bars of {symbol} are stored in this period")
    rebases = read_rebases(context.connection, frame.name, [symbol]).get(symbol, ())
    factor = 1.0 if wanted.rule_from is None else factor_since(rebases, wanted.rule_from)
    trial = try_stored(alert, stored, factor)
    count = sum(1 for _ in trial.decisions())
    left_out = max(0, count - wanted.decisions)
    rows = [describe_decision(alert, symbol, stored, each) for each in islice(trial.decisions(), left_out, None)]
    return _to_json({**describe_trial(trial, stored, symbol), "decisions": rows, "left_out": left_out})


def _to_json(result: dict[str, Any]) -> dict[str, Any]:
    """A result with times as texts; a number that JSON does not have is null."""
    return dict(msgspec.json.decode(msgspec.json.encode(result)))
