"""One call of the job `load_ohlcv`: what to ask for is planned, asked for in threads, and told item by item."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from functools import partial
from typing import Any

import msgspec
import structlog

from streamworkers.engine.job import Context
from streamworkers.engine.outcome import Completed, Failed, Outcome, Snoozed
from streamworkers.engine.redis.entry import Item
from streamworkers.errors import BadInputError, ItemError, PermanentError
from streamworkers.loading import provenance as series_sources
from streamworkers.loading.checkpoints import CheckpointPage, read_checkpoint, shared_answer, write_checkpoint
from streamworkers.loading.fetch import Loaded, StoppedError, run_fetch
from streamworkers.loading.grouped_days import DaysOfAll, days_wanted, pack_day, unpack_day
from streamworkers.loading.plan import Fetch, Nothing, Rules, Want, fetches, plan
from streamworkers.loading.provenance import SeriesKind, SeriesSource, Stored
from streamworkers.loading.providers.provider import OutOfCallsError, PlanError, Provider, Split
from streamworkers.loading.spool import BarSpool
from streamworkers.market.bars.read import read_starts
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, bar_moment, timeframe_named
from streamworkers.market.calendar.windows import moment_of, whole_windows

BEGIN_SECONDS = 30.0  # what was not begun within that time goes back to the queue
STOP_SECONDS = 240.0  # between two pages; well below the time limit of a call
_SHARED_SECONDS = 2.0
_WINDOW_SECONDS = 60.0
_FAR_AHEAD = 7 * 86_400.0
_NO_ANSWER = b"null"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SavedBars:
    """What `save` gets of an item: its bars, and as what they were loaded."""

    timeframe: Timeframe
    spool: BarSpool
    base: SeriesSource
    replaces: tuple[date | datetime, date | datetime] | None
    page_key: str


class _BusyError(ItemError):
    """Another worker is fetching what all items of the run share."""


@dataclass
class LoadBatch:
    """The items of one call, which are of one run."""

    items: Sequence[Item]
    context: Context[Any]
    rules: Rules
    provider: Provider
    threads: int
    grouped: bool
    splits_since: date | None
    _begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _stop: threading.Event = field(default_factory=threading.Event)
    _kept: dict[str, list[CheckpointPage]] = field(default_factory=dict)
    _found: dict[int, Stored] = field(default_factory=dict)
    _splits_unknown: bool = False
    _waits: int = 0

    @property
    def _midnight(self) -> datetime:
        """Pages of an earlier day in New York may be adjusted otherwise than those of today."""
        return datetime.combine(self._begun_at.astimezone(EXCHANGE_ZONE).date(), clock(), tzinfo=EXCHANGE_ZONE)

    def outcomes(self) -> Iterator[Outcome]:
        """How each item ended, as it ends."""
        left = {item.seq: item for item in self.items}
        try:
            wants: list[Want] = []
            for outcome in self._plans(self._splits()):
                if isinstance(outcome, Want):
                    wants.append(outcome)
                else:
                    del left[outcome.item.seq]
                    yield outcome
            asked = fetches(wants, self.provider, self.rules)
            days, served = self._days(asked)
        except (_BusyError, OutOfCallsError) as error:
            until = error.until if isinstance(error, OutOfCallsError) else _in(_SHARED_SECONDS)
            yield from (Snoozed(item, until) for item in left.values())
        except ItemError as error:
            yield from (_failed(item, error) for item in left.values())
        else:
            yield from self._run([(fetch, days if fetch.key in served else self.provider) for fetch in asked])

    def _plans(self, splits: Mapping[str, Sequence[Split]]) -> Iterator[Want | Outcome]:
        """What is wanted for each item, or its outcome where nothing is."""
        basis = SeriesKind(self.provider.adjusted, self.rules.hours, self.rules.hour_anchor)
        by_timeframe: dict[str, list[Item]] = {}
        for item in self.items:
            by_timeframe.setdefault(item.timeframe or "day", []).append(item)
        for name, group in by_timeframe.items():
            frame = timeframe_named(name)
            stored = series_sources.stored(self.context.connection, frame, [item.symbol for item in group])
            for item in group:
                found = stored.get(item.symbol)
                if found is not None and found.provider not in (None, self.provider.name):
                    # Another provider's bars are no reason to fetch everything again: this one may have less.
                    found = found._replace(basis=None)
                if found is not None:
                    self._found[item.seq] = found
                present = self._present(item.symbol, frame, found) if self.rules.only_gaps else None
                wanted = plan(
                    item.seq, item.symbol, frame, self.rules, basis, found, splits.get(item.symbol, ()), present
                )
                yield Completed(item, None, {"bars": 0, "why": wanted.why}) if isinstance(wanted, Nothing) else wanted

    def _present(self, symbol: str, frame: Timeframe, found: Stored | None) -> Any:
        if found is None:
            return None
        span = self.rules.span
        first, last = whole_windows(frame, span.first, span.last) if span else (found.first, self.rules.today)
        begin, end = (_bound(frame, moment, days) for moment, days in ((first, 0), (last, 1)))
        return read_starts(self.context.connection, symbol, frame, begin, end)

    def _splits(self) -> dict[str, list[Split]]:
        """Splits of the run's symbols since their bars were stored, asked for once in a run."""
        # Up to now, not to the run's moment: the prices are adjusted as of now.
        first, last = self.splits_since, max(self.rules.today, self._begun_at.astimezone(EXCHANGE_ZONE).date())
        if first is None or first >= last or self.provider.adjusted is not True:
            return {}
        packed = self._shared(f"splits:{first}:{last}", partial(self._fetch_splits, first, last))
        by_symbol: dict[str, list[Split]] = {}
        self._splits_unknown = packed == _NO_ANSWER
        for split in msgspec.json.decode(packed, type=list[Split] | None) or ():
            by_symbol.setdefault(split.symbol, []).append(split)
        return by_symbol

    def _days(self, asked: Sequence[Fetch]) -> tuple[DaysOfAll, set[str]]:
        """Days of all symbols, where they spare calls, and the keys of the fetches that they serve."""
        by_key = {fetch.key: days_wanted(fetch, self.rules) for fetch in asked} if self.grouped else {}
        found = {}
        for day in sorted({day for days in by_key.values() for day in days}):
            packed = self._shared(f"day:{day}", partial(self._fetch_day, day))
            if packed == _NO_ANSWER:
                return DaysOfAll(self.provider.settings, {}), set()
            found[day] = unpack_day(packed, day)
        days = DaysOfAll(self.provider.settings, found)
        wants = [want for fetch in asked for want in fetch.wants if want.timeframe.name == "day"]
        own = {want.symbol for want in wants if (have := self._found.get(want.number)) and have.basis is not None}
        served = days.add_stored(
            self.context.connection, [fetch for fetch in asked if by_key.get(fetch.key)], self.rules, own
        )
        return days, {fetch.key for fetch in served}

    def _fetch_splits(self, first: date, last: date) -> bytes:
        splits = self.provider.splits(first, last)
        return _NO_ANSWER if splits is None else msgspec.json.encode(list(splits))

    def _fetch_day(self, day: date) -> bytes:
        pages = self.provider.day_of_all(day)
        return _NO_ANSWER if pages is None else pack_day(pages)

    def _shared(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """What all items of the run share. What the key's plan does not include, the run does without."""

        def allowed() -> bytes:
            try:
                return fetch()
            except PlanError as error:
                log.warning("load_does_without", what=key, run=self.context.run_id, reason=str(error))
                return _NO_ANSWER

        packed = shared_answer(self.context.connection, self.context.run_id, key, self._midnight, allowed)
        if packed is None:
            raise _BusyError(f"{key} is being fetched")
        return packed

    def _run(self, asked: Sequence[tuple[Fetch, Provider]]) -> Iterator[Outcome]:
        """Ask for everything, several at once, and tell what came of it."""
        by_seq = {item.seq: item for item in self.items}
        keys = [fetch.key for fetch, _ in asked]
        staged = read_checkpoint(self.context.connection, self.context.run_id, keys, self._midnight)
        started = time.monotonic()
        with ThreadPoolExecutor(self.threads, "load") as pool:
            futures: dict[Future[list[Loaded]], Fetch] = {
                pool.submit(self._fetch, fetch, provider, staged.get(fetch.key, ()), started): fetch
                for fetch, provider in asked
            }
            try:
                for future in as_completed(futures):
                    if self.context.cancelled:
                        self._stop.set()
                    yield from self._told(futures[future], future, by_seq)
            finally:
                self._stop.set()

    def _fetch(
        self, fetch: Fetch, provider: Provider, staged: Sequence[CheckpointPage], started: float
    ) -> list[Loaded]:
        """In a thread."""
        if self._stop.is_set() or time.monotonic() - started > BEGIN_SECONDS:
            raise StoppedError("not begun in time")
        return run_fetch(
            fetch,
            provider,
            self.rules,
            staged,
            lambda: self._stop.is_set() or time.monotonic() - started > STOP_SECONDS,
            lambda pages: self._kept.__setitem__(fetch.key, pages),
        )

    def _told(self, fetch: Fetch, future: Future[list[Loaded]], by_seq: Mapping[int, Item]) -> Iterator[Outcome]:
        items = [by_seq[want.number] for want in fetch.wants]
        error = future.exception()
        if error is None:
            results = future.result()
            # What was rejected of a fetch is told with each of its items, and counted once.
            for rule, count in results[0].rejected.items():
                self.context.tallies["provider_bars_rejected", self.provider.name, rule] += count
            for loaded in results:
                yield self._completed(by_seq[loaded.want.number], loaded, fetch)
            return
        if pages := self._kept.pop(fetch.key, None):
            write_checkpoint(self.context.connection, self.context.run_id, fetch.key, pages)
        if isinstance(error, StoppedError):
            yield from (Snoozed(item, datetime.now(UTC)) for item in items)
        elif isinstance(error, OutOfCallsError):
            # One that has begun goes on as soon as it can; the others come in turn.
            turn = 0 if pages else self._waits // max(1, self.provider.calls_per_minute or len(by_seq))
            self._waits += 1
            until = error.until + timedelta(seconds=turn * _WINDOW_SECONDS)
            yield from (Snoozed(item, min(until, _in(_FAR_AHEAD))) for item in items)
        elif isinstance(error, ItemError | BadInputError):
            yield from (_failed(item, error) for item in items)
        else:
            raise error

    def _completed(self, item: Item, loaded: Loaded, fetch: Fetch) -> Outcome:
        want, spool = loaded.want, loaded.spool
        if not spool.count and loaded.missing:
            detail = f"; {sum(loaded.rejected.values())} were rejected: {loaded.example}" if loaded.example else ""
            spool.close()
            return Failed(
                item,
                f"{self.provider.name} has no {want.timeframe.name} bars of {want.symbol} from {want.span.first}"
                f" to {want.span.last}, where the exchange has {loaded.missing}{detail}",
                permanent=not loaded.example,
            )
        self.context.tallies["provider_bars", self.provider.name, want.timeframe.name] += spool.count
        result: dict[str, Any] = {"bars": spool.count}
        replaces = None
        if spool.first is not None and spool.last is not None:
            first, last = (moment_of(want.timeframe, start) for start in (spool.first, spool.last))
            result |= {"first": _shown(first), "last": _shown(last)}
            replaces = (first, _bound(want.timeframe, want.span.last, 1)) if want.replaces else None
        if fetch.asked.timeframe != want.timeframe:
            result["made_of"] = fetch.asked.timeframe.name
        if loaded.missing:
            result["missing_bars"] = loaded.missing
        if loaded.off_session:
            result["off_session"] = loaded.off_session
        if loaded.rejected:
            result |= {"rejected": dict(loaded.rejected), "example": loaded.example}
        if want.replaces:
            result["replaced"] = want.replaces
        if self._splits_unknown:
            result["splits"] = "unknown"
        return Completed(item, SavedBars(want.timeframe, spool, self._base(want, spool), replaces, fetch.key), result)

    def _base(self, want: Want, spool: BarSpool) -> SeriesSource:
        """As what these bars will be stored."""
        found = self._found.get(want.number)
        adjusted_on = self._begun_at.astimezone(EXCHANGE_ZONE).date()
        newest: datetime | None = self._begun_at
        planned_on = None
        if found is not None:
            if found.basis is not None:
                planned_on = found.basis, found.last_split
            if self._splits_unknown and not want.replaces:
                adjusted_on = found.adjusted_on or adjusted_on
            if spool.last is None or moment_of(want.timeframe, spool.last) < found.last:
                newest = found.fetched_at
        return SeriesSource(
            want.symbol,
            want.timeframe.name,
            self.provider.name,
            SeriesKind(self.provider.adjusted, self.rules.hours, self.rules.hour_anchor),
            adjusted_on,
            want.last_split,
            self._begun_at,
            newest,
            self.context.run_id,
            planned_on,
        )


def _failed(item: Item, error: BaseException) -> Failed:
    return Failed(item, f"{type(error).__name__}: {error}", isinstance(error, PermanentError | BadInputError))


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _bound(frame: Timeframe, moment: date | datetime, days: int) -> date | datetime:
    """A day, so many days on, as the timeframe's table has times."""
    if isinstance(moment, datetime):
        return moment
    return bar_moment(frame, moment + timedelta(days=days)) if frame.intraday else moment


def _shown(moment: date | datetime) -> str:
    return moment.astimezone(EXCHANGE_ZONE).isoformat() if isinstance(moment, datetime) else moment.isoformat()
