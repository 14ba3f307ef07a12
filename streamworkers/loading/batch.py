"""Executes one call of the job `load_ohlcv`: plans its items, fetches in threads, yields an outcome for each item."""

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
from streamworkers.engine.outcome import Completed, Item, Outcome, Snoozed
from streamworkers.errors import BadInputError, ItemError
from streamworkers.loading.checkpoints import CheckpointPage, fetch_shared, read_checkpoint, write_checkpoint
from streamworkers.loading.fetch import Loaded, StoppedError, run_fetch
from streamworkers.loading.grouped_days import DaysOfAll, list_grouped_days, pack_day, unpack_day
from streamworkers.loading.outcomes import LoadFacts, complete_item, fail_item
from streamworkers.loading.plan import Fetch, LoadRules, NothingToLoad, Want, plan_fetches, plan_load
from streamworkers.loading.provenance import StoredSeries, read_stored
from streamworkers.loading.providers.provider import PlanError, Provider, RateLimitedError, Split
from streamworkers.market.bars.read import read_starts
from streamworkers.market.calendar.session_table import read_sessions
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, timeframe_named
from streamworkers.market.calendar.windows import EXCHANGE_CALENDAR, bound_of, whole_windows

BEGIN_SECONDS = 30.0  # fetches that have not begun by then go back to the queue
STOP_SECONDS = 240.0  # fetches stop between two pages after this time, well below the time limit of a call
_SHARED_SECONDS = 2.0
_WINDOW_SECONDS = 60.0
_LONGEST_WAIT_SECONDS = 7 * 86_400.0
_NO_ANSWER = b"null"
log = structlog.get_logger()


class _BusyError(ItemError):
    """Another worker is fetching an answer that all items of the run share."""


@dataclass
class LoadBatch:
    """The items of one call, which belong to one run."""

    items: Sequence[Item]
    context: Context[Any]
    rules: LoadRules
    provider: Provider
    threads: int
    grouped: bool
    splits_since: date | None
    _begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _stop: threading.Event = field(default_factory=threading.Event)
    _kept: dict[str, list[CheckpointPage]] = field(default_factory=dict)
    _found: dict[int, StoredSeries] = field(default_factory=dict)
    _splits_unknown: bool = False
    _waits: int = 0

    @property
    def _today(self) -> date:
        return self._begun_at.astimezone(EXCHANGE_ZONE).date()

    @property
    def _midnight(self) -> datetime:
        # Pages of an earlier day in New York may be adjusted differently from those of today.
        return datetime.combine(self._today, clock(), tzinfo=EXCHANGE_ZONE)

    @property
    def _facts(self) -> LoadFacts:
        return LoadFacts(self.context.run_id, self._begun_at, self.provider, self.rules, self._splits_unknown)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each item as soon as it is known."""
        read_sessions(self.context.connection, EXCHANGE_CALENDAR)
        left = {item.seq: item for item in self.items}
        try:
            wants: list[Want] = []
            for outcome in self._plan_items(self._read_splits()):
                if isinstance(outcome, Want):
                    wants.append(outcome)
                else:
                    del left[outcome.item.seq]
                    yield outcome
            fetches = plan_fetches(wants, self.provider, self.rules)
            days, served = self._group_days(fetches)
        except (_BusyError, RateLimitedError) as error:
            until = error.until if isinstance(error, RateLimitedError) else _in(_SHARED_SECONDS)
            yield from (Snoozed(item, until) for item in left.values())
        except ItemError as error:
            yield from (fail_item(item, error) for item in left.values())
        else:
            yield from self._run([(fetch, days if fetch.key in served else self.provider) for fetch in fetches])

    def _plan_items(self, splits: Mapping[str, Sequence[Split]]) -> Iterator[Want | Outcome]:
        """Yield what is wanted for each item, or its outcome if there is nothing to load."""
        by_timeframe: dict[str, list[Item]] = {}
        for item in self.items:
            by_timeframe.setdefault(item.timeframe or "day", []).append(item)
        for name, group in by_timeframe.items():
            frame = timeframe_named(name)
            stored = read_stored(self.context.connection, frame, [item.symbol for item in group])
            for item in group:
                wanted = self._plan_item(item, frame, stored.get(item.symbol), splits.get(item.symbol, ()))
                if isinstance(wanted, NothingToLoad):
                    yield Completed(item, None, {"bars": 0, "why": wanted.why})
                else:
                    yield wanted

    def _plan_item(
        self, item: Item, frame: Timeframe, found: StoredSeries | None, splits: Sequence[Split]
    ) -> Want | NothingToLoad:
        if found is not None and found.provider not in (None, self.provider.name):
            # Bars of another provider are no reason to fetch everything again: this provider may have fewer.
            found = found._replace(kind=None)
        if found is not None:
            self._found[item.seq] = found
        present = self._read_present(item.symbol, frame, found) if self.rules.only_gaps else None
        return plan_load(item.seq, item.symbol, frame, self.rules, self._facts.kind, found, splits, present)

    def _read_present(self, symbol: str, frame: Timeframe, found: StoredSeries | None) -> Any:
        if found is None:
            return None
        span = self.rules.span
        first, last = whole_windows(frame, span.first, span.last) if span else (found.first, self.rules.today)
        begin, end = (bound_of(frame, moment, days) for moment, days in ((first, 0), (last, 1)))
        return read_starts(self.context.connection, symbol, frame, begin, end)

    def _read_splits(self) -> dict[str, list[Split]]:
        """Return the splits of the run's symbols since their bars were stored; fetched once for a run."""
        # Up to now, not to the run's moment: the provider adjusts prices as of now.
        first, last = self.splits_since, max(self.rules.today, self._today)
        if first is None or first >= last or self.provider.adjusted is not True:
            return {}
        packed = self._fetch_shared(f"splits:{first}:{last}", partial(self._fetch_splits, first, last))
        by_symbol: dict[str, list[Split]] = {}
        self._splits_unknown = packed == _NO_ANSWER
        for split in msgspec.json.decode(packed, type=list[Split] | None) or ():
            by_symbol.setdefault(split.symbol, []).append(split)
        return by_symbol

    def _group_days(self, fetches: Sequence[Fetch]) -> tuple[DaysOfAll, set[str]]:
        """Return days of all symbols, if they save calls, and the keys of the fetches that they serve."""
        by_key = {fetch.key: list_grouped_days(fetch, self.rules) for fetch in fetches} if self.grouped else {}
        found = {}
        for day in sorted({day for days in by_key.values() for day in days}):
            packed = self._fetch_shared(f"day:{day}", partial(self._fetch_day, day))
            if packed == _NO_ANSWER:
                return DaysOfAll(self.provider.settings, {}), set()
            found[day] = unpack_day(packed, day)
        days = DaysOfAll(self.provider.settings, found)
        wants = [want for fetch in fetches for want in fetch.wants if want.timeframe.name == "day"]
        own = {want.symbol for want in wants if (have := self._found.get(want.number)) and have.kind is not None}
        served = days.add_stored(
            self.context.connection, [fetch for fetch in fetches if by_key.get(fetch.key)], self.rules, own
        )
        return days, {fetch.key for fetch in served}

    def _fetch_splits(self, first: date, last: date) -> bytes:
        splits = self.provider.splits(first, last)
        return _NO_ANSWER if splits is None else msgspec.json.encode(list(splits))

    def _fetch_day(self, day: date) -> bytes:
        pages = self.provider.day_of_all(day)
        return _NO_ANSWER if pages is None else pack_day(pages)

    def _fetch_shared(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return an answer that all items of the run share, `_NO_ANSWER` if the key's plan does not include it."""

        def fetch_if_in_plan() -> bytes:
            try:
                return fetch()
            except PlanError as error:
                log.warning("load_does_without", what=key, run=self.context.run_id, reason=str(error))
                return _NO_ANSWER

        packed = fetch_shared(self.context.connection, self.context.run_id, key, self._midnight, fetch_if_in_plan)
        if packed is None:
            raise _BusyError(f"{key} is being fetched")
        return packed

    def _run(self, fetches: Sequence[tuple[Fetch, Provider]]) -> Iterator[Outcome]:
        """Run all fetches, several at once, and yield the outcomes of their items."""
        by_seq = {item.seq: item for item in self.items}
        keys = [fetch.key for fetch, _ in fetches]
        saved = read_checkpoint(self.context.connection, self.context.run_id, keys, self._midnight)
        started = time.monotonic()
        with ThreadPoolExecutor(self.threads, "load") as pool:
            futures: dict[Future[list[Loaded]], Fetch] = {
                pool.submit(self._fetch, fetch, provider, saved.get(fetch.key, ()), started): fetch
                for fetch, provider in fetches
            }
            try:
                for future in as_completed(futures):
                    if self.context.cancelled:
                        self._stop.set()
                    yield from self._finish_fetch(futures[future], future, by_seq)
            finally:
                self._stop.set()

    def _fetch(
        self, fetch: Fetch, provider: Provider, checkpoint: Sequence[CheckpointPage], started: float
    ) -> list[Loaded]:
        """Fetch the bars of a series; called from several threads."""
        if self._stop.is_set() or time.monotonic() - started > BEGIN_SECONDS:
            raise StoppedError("not begun in time")
        return run_fetch(
            fetch,
            provider,
            self.rules,
            checkpoint,
            lambda: self._stop.is_set() or time.monotonic() - started > STOP_SECONDS,
            lambda pages: self._kept.__setitem__(fetch.key, pages),
        )

    def _finish_fetch(
        self, fetch: Fetch, future: Future[list[Loaded]], by_seq: Mapping[int, Item]
    ) -> Iterator[Outcome]:
        error = future.exception()
        if error is not None:
            yield from self._end_with_error(fetch, error, [by_seq[want.number] for want in fetch.wants])
            return
        results = future.result()
        # All wants of a fetch have the same rejected bars, which are counted once.
        for rule, count in results[0].rejected.items():
            self.context.tallies["provider_bars_rejected", self.provider.name, rule] += count
        for loaded in results:
            item, frame = by_seq[loaded.want.number], loaded.want.timeframe
            outcome = complete_item(item, loaded, fetch, self._found.get(item.seq), self._facts)
            if isinstance(outcome, Completed):
                self.context.tallies["provider_bars", self.provider.name, frame.name] += loaded.spool.count
            yield outcome

    def _end_with_error(self, fetch: Fetch, error: BaseException, items: Sequence[Item]) -> Iterator[Outcome]:
        if pages := self._kept.pop(fetch.key, None):
            write_checkpoint(self.context.connection, self.context.run_id, fetch.key, pages)
        if isinstance(error, StoppedError):
            yield from (Snoozed(item, datetime.now(UTC)) for item in items)
        elif isinstance(error, RateLimitedError):
            # A fetch that has begun continues as soon as it can; the others wait for a later window each.
            turn = 0 if pages else self._waits // max(1, self.provider.calls_per_minute or len(self.items))
            self._waits += 1
            until = error.until + timedelta(seconds=turn * _WINDOW_SECONDS)
            yield from (Snoozed(item, min(until, _in(_LONGEST_WAIT_SECONDS))) for item in items)
        elif isinstance(error, ItemError | BadInputError):
            yield from (fail_item(item, error) for item in items)
        else:
            raise error


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
