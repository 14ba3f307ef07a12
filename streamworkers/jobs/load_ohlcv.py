"""The job `load_ohlcv`: loads bars of many symbols in several timeframes from a provider into their tables.

An item is a symbol in a timeframe.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar

from streamworkers.config import Settings, load_settings
from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobCounter, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome
from streamworkers.engine.redis.lanes import list_lanes
from streamworkers.errors import BadInputError, ItemError, UsageError
from streamworkers.loading.batch import LoadBatch
from streamworkers.loading.batch_scope import BatchScope
from streamworkers.loading.estimate import CallSizes, estimate_calls
from streamworkers.loading.fetch_plan import choose_source_timeframe
from streamworkers.loading.parameters import LoadParameters
from streamworkers.loading.provenance import read_first_days, read_oldest_adjustment
from streamworkers.loading.providers.provider import Provider, get_provider
from streamworkers.loading.rate_limit import limit_calls
from streamworkers.loading.store import BarsToSave, store_loaded
from streamworkers.loading.turn import choose_turn
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import TIMEFRAMES, timeframe_named


class LoadOhlcv(Job[LoadParameters]):
    """Loads the bars of every symbol in every requested timeframe."""

    name: ClassVar[str] = "load_ohlcv"
    queue: ClassVar[str] = "load"
    first_queue: ClassVar[str | None] = "load_first"
    batch_size: ClassVar[int] = 60
    timeout_seconds: ClassVar[float] = 900.0
    max_attempts: ClassVar[int] = 5
    target_batch_seconds: ClassVar[float | None] = 10.0
    keeps_keys_together: ClassVar[bool] = True  # hours share the request for minutes, weeks and months that for days
    parameters: ClassVar[type[JobParameters]] = LoadParameters
    counters: ClassVar[tuple[JobCounter, ...]] = (
        JobCounter("provider_calls", "Calls to a provider, by answer and purpose", ("provider", "answer", "purpose")),
        JobCounter("provider_waits", "Provider calls delayed by the fleet-wide rate limit", ("provider",)),
        JobCounter("provider_bars", "Bars from providers that were stored", ("provider", "timeframe")),
        JobCounter("provider_bars_rejected", "Bars from providers that were rejected, by rule", ("provider", "rule")),
    )

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Fix the timeframes, the moment, and the values of settings for all items of the run."""
        settings = load_settings()
        given = LoadParameters.model_validate(request.parameters or {})
        names = request.timeframes or given.timeframes or (request.timeframe or "day",)
        timeframes = tuple(dict.fromkeys(timeframe_named(name).name for name in names))
        now = request.as_of or request.moment()
        filled = _fill_in(given, settings, len(request.symbols))
        if request.as_of is not None:
            # The grace is time for the provider: what was closed at a moment of the past has had it since.
            passed = (datetime.now(UTC) - request.as_of).total_seconds()
            filled = filled.model_copy(update={"grace_seconds": max(0.0, filled.grace_seconds - max(0.0, passed))})
        rules, provider = filled.rules(now), get_provider(filled.provider)
        if rules.span is not None and rules.span.first > rules.today:
            raise BadInputError(f"first {rules.span.first} is after today, {rules.today} in New York")
        for name in timeframes:
            try:
                choose_source_timeframe(TIMEFRAMES[name], provider, rules, timeframes)
            except ItemError as error:
                raise BadInputError(str(error)) from None
        turn = choose_turn(request.origin, len(request.symbols) * len(timeframes), settings)
        since = read_oldest_adjustment(connection, filled.provider, request.symbols)
        stored = {name: read_first_days(connection, TIMEFRAMES[name], request.symbols) for name in timeframes}
        sizes = CallSizes(filled.grouped, settings.massive_page_limit)
        return replace(
            request,
            timeframe=timeframes[0] if len(timeframes) == 1 else None,
            timeframes=timeframes,
            as_of=now,
            parameters=filled.model_copy(
                update={
                    "calls_share": turn.share,
                    "calls_cost": turn.cost,
                    "splits_since": since,
                    "estimated_calls": estimate_calls(request.symbols, timeframes, provider, rules, sizes, stored),
                }
            ).model_dump(mode="json", exclude_none=True),
            goes_first=turn.goes_first,
        )

    def execute(self, items: Sequence[Item], context: Context[LoadParameters]) -> Iterator[Outcome]:
        """Fetch the bars of all items, several symbols at once."""
        assert context.as_of is not None
        parameters = context.parameters
        settings = load_settings()
        try:
            provider = self._provider(parameters.provider, settings)
        except UsageError as error:  # a setting is missing or wrong, for every item
            yield Failed(items[0], f"{type(error).__name__}: {error}", permanent=True, stops_run=True)
            return
        provider.calls = limit_calls(provider, context, settings)
        calendars = read_calendar_rules(context.connection, settings.calendar)
        scope = BatchScope(
            context, parameters.rules(context.as_of), provider, settings, calendars, tuple(list_lanes(self.queues))
        )
        yield from LoadBatch(items, scope).outcomes()

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Store the bars of each timeframe."""
        values = [outcome.value for outcome in completed if isinstance(outcome.value, BarsToSave)]
        if values:
            store_loaded(connection, completed[0].item.run_id, values)
        return ()

    def close(self) -> None:
        """Close the providers' connections; they are opened again when needed."""
        for provider in self._providers.values():
            provider.close()
        self._providers.clear()

    def _provider(self, name: str, settings: Settings) -> Provider:
        known = self._providers.get(name)
        if known is not None and known.settings == settings:
            return known
        if known is not None:
            known.close()
        self._providers[name] = get_provider(name)(settings)
        return self._providers[name]


def _fill_in(given: LoadParameters, settings: Settings, symbols: int) -> LoadParameters:
    """Return the parameters of a run with the values of settings where none are given."""
    return given.model_copy(
        update={
            "provider": given.provider or settings.load_provider,
            "timeframes": (),
            "hours": given.hours or settings.load_hours,
            "hour_anchor": given.hour_anchor or settings.load_hour_anchor,
            "derive": settings.load_derive if given.derive is None else given.derive,
            "default_years": settings.load_years,
            "overlap_bars": settings.load_overlap_bars,
            "grace_seconds": settings.load_grace_seconds,
            "check_nights": given.check_nights or settings.load_check_nights or None,
            "grouped": symbols >= settings.load_grouped_from,
        }
    )
