"""The job `load_ohlcv`: bars of many symbols in several timeframes, from a provider into their tables.

An item is a symbol in a timeframe. Each ends as loaded with a count, or failed with a reason.
"""

import secrets
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

from pydantic import Field, model_validator

from streamworkers.config import Settings, load_settings
from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobCounter, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Event, Outcome
from streamworkers.engine.redis.entry import Item
from streamworkers.errors import BadInputError, ItemError
from streamworkers.loading import provenance as series_sources
from streamworkers.loading.batch import LoadBatch, SavedBars
from streamworkers.loading.checkpoints import delete_checkpoints
from streamworkers.loading.plan import Rules, Span, base_of
from streamworkers.loading.providers.provider import Calls, OutOfCallsError, Provider, provider_named
from streamworkers.market.bars.arrays import bar_rows
from streamworkers.market.bars.write import Series, lock_bars, store_series
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, timeframe_named
from streamworkers.market.calendar.windows import HourAnchor, Hours, moment_of

CALL_WINDOW_MS = 60_000
_ROWS_OF_A_STATEMENT = 300_000
_ROWS_OF_A_PART = 10_000  # as text they take twenty times the memory that they take as numbers


class LoadParameters(JobParameters):
    """What to load. Settings fill in what is not named when the run is made, so that all its items agree.

    `first` and `last` are dates of New York, both included; or `years` before now. With neither, what follows the last
    stored bar. `only_gaps` loads the bars that the exchange's sessions give and that are not stored. `timeframes` are
    for those who can name but one of them otherwise, as a schedule.
    """

    provider: str = ""
    timeframes: tuple[str, ...] = ()
    first: date | None = Field(None, ge=date(1900, 1, 1), le=date(2100, 12, 31))
    last: date | None = Field(None, ge=date(1900, 1, 1), le=date(2100, 12, 31))
    years: float | None = Field(None, gt=0, le=100)
    hours: Hours | None = None
    hour_anchor: HourAnchor | None = None
    derive: bool | None = None
    include_open: bool = False
    only_gaps: bool = False
    run_analysis: bool = False
    default_years: float = Field(2.0, gt=0, le=100)
    overlap_bars: int = Field(1, ge=1, le=1000)
    settle_seconds: float = Field(0.0, ge=0, le=86_400)
    grouped: bool = False
    splits_since: date | None = None

    @model_validator(mode="after")
    def _is_one_range(self) -> "LoadParameters":
        if self.years is not None and self.first is not None:
            raise ValueError("name either years or first")
        if self.last is not None and self.first is None and self.years is None:
            raise ValueError(f"last {self.last} needs first or years")
        if self.first is not None and self.last is not None and self.last < self.first:
            raise ValueError(f"last {self.last} is before first {self.first}")
        return self

    def rules(self, now: datetime) -> Rules:
        """What the range means at a moment."""
        last = self.last or now.astimezone(EXCHANGE_ZONE).date()
        span = None
        if self.first is not None:
            span = Span(self.first, last)
        elif self.years is not None:
            span = Span(last - timedelta(days=round(self.years * 365.25)), last)
        return Rules(
            now=now,
            span=span,
            years=self.default_years,
            overlap_bars=self.overlap_bars,
            settle_seconds=self.settle_seconds,
            hours=self.hours or "regular",
            hour_anchor=self.hour_anchor or "clock",
            include_open=self.include_open,
            only_gaps=self.only_gaps,
            derive=self.derive is not False,
        )


class LoadOhlcv(Job[LoadParameters]):
    """Bars of every symbol in every timeframe asked for."""

    name: ClassVar[str] = "load_ohlcv"
    queue: ClassVar[str] = "load"
    batch_size: ClassVar[int] = 60
    timeout_seconds: ClassVar[float] = 900.0
    max_attempts: ClassVar[int] = 5
    target_batch_seconds: ClassVar[float | None] = 10.0
    parameters: ClassVar[type[JobParameters]] = LoadParameters
    counters: ClassVar[tuple[JobCounter, ...]] = (
        JobCounter("provider_calls", "Calls to a provider, by answer", ("provider", "answer")),
        JobCounter("provider_waits", "Provider calls delayed by the fleet-wide rate limit", ("provider",)),
        JobCounter("provider_bars", "Bars from providers that were stored", ("provider", "timeframe")),
        JobCounter("provider_bars_rejected", "Bars from providers that were rejected, by rule", ("provider", "rule")),
    )

    def __init__(self) -> None:
        self._providers: dict[str, Provider] = {}

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        """Fix the timeframes, the moment, and what the settings of whoever asks say."""
        settings = load_settings()
        given = LoadParameters.model_validate(request.parameters or {})
        names = request.timeframes or given.timeframes or (request.timeframe or "day",)
        timeframes = tuple(dict.fromkeys(timeframe_named(name).name for name in names))
        now = request.as_of or request.moment()
        filled = given.model_copy(
            update={
                "provider": given.provider or settings.load_provider,
                "timeframes": (),
                "hours": given.hours or settings.load_hours,
                "hour_anchor": given.hour_anchor or settings.load_hour_anchor,
                "derive": settings.load_derive if given.derive is None else given.derive,
                "default_years": settings.load_years,
                "overlap_bars": settings.load_overlap_bars,
                "settle_seconds": settings.load_grace_seconds,
                "grouped": len(request.symbols) >= settings.load_grouped_from,
            }
        )
        rules, provider = filled.rules(now), provider_named(filled.provider)
        if rules.span is not None and rules.span.first > rules.today:
            raise BadInputError(f"first {rules.span.first} is after today, {rules.today} in New York")
        for name in timeframes:
            try:
                base_of(TIMEFRAMES[name], provider, rules, timeframes)
            except ItemError as error:
                raise BadInputError(str(error)) from None
        since = series_sources.oldest_adjustment(connection, filled.provider, request.symbols)
        return replace(
            request,
            timeframe=timeframes[0] if len(timeframes) == 1 else None,
            timeframes=timeframes,
            as_of=now,
            parameters=filled.model_copy(update={"splits_since": since}).model_dump(mode="json", exclude_none=True),
        )

    def execute(self, items: Sequence[Item], context: Context[LoadParameters]) -> Iterator[Outcome]:
        """Ask the provider for all items, several symbols at once."""
        assert context.as_of is not None
        parameters = context.parameters
        settings = load_settings()
        provider = self._provider(parameters.provider, settings)
        provider.calls = _fleet_calls(provider, context, settings)
        yield from LoadBatch(
            items,
            context,
            parameters.rules(context.as_of),
            provider,
            settings.load_threads,
            parameters.grouped,
            parameters.splits_since,
        ).outcomes()

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        """Store the bars of each timeframe, a series that changed as a whole in the place of the stored one."""
        values: list[tuple[int, SavedBars]] = [
            (outcome.item.run_id, outcome.value) for outcome in completed if isinstance(outcome.value, SavedBars)
        ]
        if not values:
            return ()
        bases = [value.base for _, value in values]
        if others := series_sources.conflicts(connection, bases):
            raise ItemError(f"bars of {', '.join(sorted(others))} were loaded anew meanwhile, as another series")
        ours = series_sources.record_sources(connection, bases)
        for frame in TIMEFRAMES.values():
            group = [value for _, value in values if value.timeframe == frame]
            if group:
                lock_bars(connection, frame)
            for value in group:
                newest = (value.base.symbol, frame.name) in ours
                if newest and value.replaces is not None:
                    series_sources.remove_bars(connection, frame, value.base.symbol, *value.replaces)
            for is_ours in (True, False):
                # What another load fetched later stays; ours adds what that one had not asked for.
                chosen = [value for value in group if ((value.base.symbol, frame.name) in ours) is is_ours]
                for part in _parts(chosen):
                    store_series(connection, frame, [_series(value) for value in part], keep_stored=not is_ours)
        delete_checkpoints(connection, values[0][0], [value.page_key for _, value in values])
        return ()

    def close(self) -> None:
        """Let go of the providers' connections; they are opened again when they are needed."""
        for provider in self._providers.values():
            provider.close()
        self._providers.clear()

    def _provider(self, name: str, settings: Settings) -> Provider:
        known = self._providers.get(name)
        if known is not None and known.settings == settings:
            return known
        if known is not None:
            known.close()
        self._providers[name] = provider_named(name)(settings)
        return self._providers[name]


def _parts(values: Sequence[SavedBars]) -> Iterator[list[SavedBars]]:
    """As many series at once as one statement should store."""
    part: list[SavedBars] = []
    rows = 0
    for value in values:
        if not value.spool.count:
            continue
        if part and rows + value.spool.count > _ROWS_OF_A_STATEMENT:
            yield part
            part, rows = [], 0
        part.append(value)
        rows += value.spool.count
    if rows:
        yield part


def _series(value: SavedBars) -> Series:
    frame, spool = value.timeframe, value.spool
    assert spool.first is not None
    assert spool.last is not None
    rows = (bar_rows(value.base.symbol, frame, part) for bars in spool for part in bars.parts(_ROWS_OF_A_PART))
    return Series(value.base.symbol, moment_of(frame, spool.first), moment_of(frame, spool.last), rows)


def _fleet_calls(provider: Provider, context: Context[LoadParameters], settings: Settings) -> Calls:
    """Calls of this batch, counted for metrics, and against the number that the whole fleet may make in a minute."""
    streams, limit, tallies = context.streams, provider.calls_per_minute, context.tallies
    longest_ms = round(settings.massive_timeout_seconds * 10_000)
    lock = threading.Lock()

    def reserve() -> str:
        if not limit:
            return ""
        token = secrets.token_hex(8)
        wait_ms = streams.reserve_call(provider.name, token, limit, CALL_WINDOW_MS, longest_ms)
        if wait_ms:
            with lock:
                tallies["provider_waits", provider.name] += 1
            until = datetime.now(UTC) + timedelta(milliseconds=wait_ms)
            raise OutOfCallsError(f"the fleet has made its {limit} calls of a minute", until)
        return token

    def finished(token: str) -> None:
        if token:
            streams.finish_call(provider.name, token)

    def counted(answer: str) -> None:
        with lock:
            tallies["provider_calls", provider.name, answer] += 1

    return Calls(reserve, finished, counted)
