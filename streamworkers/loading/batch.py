"""Executes one call of the job `load_ohlcv`: plans its items, fetches in threads, yields an outcome for each item."""

import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import structlog

from streamworkers.engine.job import Context
from streamworkers.engine.outcome import Completed, Item, Outcome, Snoozed
from streamworkers.errors import BadInputError, ItemError, PermanentError, StopRunError
from streamworkers.loading.absence import is_absent, read_absent
from streamworkers.loading.checkpoints import (
    CheckpointPage,
    CheckpointPages,
    delete_checkpoints,
    read_checkpoint,
    write_checkpoint,
)
from streamworkers.loading.confirm import confirm_absence, explain_absence
from streamworkers.loading.fetch import Loaded, StoppedError, run_fetch
from streamworkers.loading.grouped_days import DaysOfAll, list_grouped_days
from streamworkers.loading.history import PlanHistory
from streamworkers.loading.listings import Listings, plan_delisted, read_listings
from streamworkers.loading.newest_day import NewestDay, WaitingError, find_newest_session, lacks_day, needs_day
from streamworkers.loading.outages import CallFailure, PausedError, ProviderWatch
from streamworkers.loading.outcomes import LoadFacts, complete_item, fail_item
from streamworkers.loading.plan import Fetch, LoadRules, NothingToLoad, Span, Want, plan_fetches, plan_load
from streamworkers.loading.provenance import ProvenanceError, StoredSeries, find_better, read_stored
from streamworkers.loading.providers.provider import (
    BarOrigin,
    NotYetError,
    PlanError,
    Provider,
    ProviderError,
    RateLimitedError,
    Split,
    TooOldError,
    UnlikeAnswersError,
)
from streamworkers.loading.run_notes import RunNotes
from streamworkers.loading.shared_answers import BusyError, SharedAnswers
from streamworkers.loading.waiting import WaitingItems
from streamworkers.market.bars.bars import is_among
from streamworkers.market.bars.read import read_starts
from streamworkers.market.calendar.exchange import exchange_named
from streamworkers.market.calendar.session_table import read_sessions
from streamworkers.market.calendar.symbol_calendars import CalendarRules
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, Timeframe, timeframe_named
from streamworkers.market.calendar.windows import EXCHANGE_CALENDAR, bound_of, whole_windows

BEGIN_SECONDS = 30.0  # fetches that have not begun by then go back to the queue
STOP_SECONDS = 240.0  # fetches stop between two pages after this time, well below the time limit of a call
_SHARED_SECONDS = 2.0
_ENOUGH_REJECTIONS = 10  # symbols that the plan does not include, until a timeframe counts as not included
log = structlog.get_logger()


class _Trouble(NamedTuple):
    """A fetch that failed as if the provider were away."""

    fetch: Fetch
    failure: CallFailure


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
    calendars: CalendarRules
    wait_seconds: float = 0.0
    away_seconds: float = 0.0
    probe_seconds: float = 60.0
    confirms: bool = False
    listing_days: float = 0.0
    queues: tuple[str, ...] = ()
    _begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _stop: threading.Event = field(default_factory=threading.Event)
    _kept: dict[str, CheckpointPages] = field(default_factory=dict)
    _found: dict[int, StoredSeries] = field(default_factory=dict)
    _splits_unknown: bool = False
    _answered_at: float = -1.0
    _troubled: list[_Trouble] = field(default_factory=list)
    _times: dict[str, tuple[float, float]] = field(default_factory=dict)
    _answered: set[str] = field(default_factory=set)
    _rejected_by_plan: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._notes = RunNotes(self.context.connection, self.context.run_id)
        self._watch = ProviderWatch(
            self.context.connection, self.provider, self._notes, self.away_seconds, self.probe_seconds
        )
        self._newest = NewestDay(self._notes, self.wait_seconds)
        self._history = PlanHistory(self.provider, self._notes)
        self._waiting = WaitingItems(self.context, self.queues, self.provider.calls_per_minute or 0)
        self._shared = SharedAnswers(self.context, self.provider, self._newest, self._midnight)

    @property
    def _asked_since(self) -> datetime:
        return self._begun_at - timedelta(days=self.listing_days)

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
        for calendar in {EXCHANGE_CALENDAR, *self.calendars.group(item.symbol for item in self.items)}:
            read_sessions(self.context.connection, calendar)
        self._notes.read()
        self._history.begin()
        left = {item.seq: item for item in self.items}
        started = time.monotonic()
        try:
            self._watch.require_there()
            if (horizon := self._newest.horizon) is not None:
                self.rules = replace(self.rules, now=min(self.rules.now, horizon))
            wants: list[Want] = []
            for outcome in self._plan_items(self._read_splits()):
                if isinstance(outcome, Want):
                    wants.append(outcome)
                else:
                    del left[outcome.item.seq]
                    yield outcome
            fetches = plan_fetches(self._keep_due(wants), self.provider, self.rules)
            # While the provider may be away, one call is enough to find out.
            fetches = fetches[:1] if self._watch.probing else fetches
            days, served = self._group_days(fetches)
        except (BusyError, RateLimitedError, PausedError, WaitingError) as error:
            until = _in(_SHARED_SECONDS) if isinstance(error, BusyError) else error.until
            yield from (Snoozed(item, until) for item in left.values())
        except ItemError as error:
            yield from self._end_shared(error, started, list(left.values()))
        else:
            planned = {want.number for fetch in fetches for want in fetch.wants}
            note = self._newest.waits_for
            yield from (Snoozed(left[seq], note.until if note else _in(0)) for seq in left if seq not in planned)
            yield from self._run([(fetch, days if fetch.key in served else self.provider) for fetch in fetches])

    def _rules_of(self, symbol: str) -> LoadRules:
        """The rules of the run with the calendar of a symbol."""
        return replace(self.rules, calendar=self.calendars.calendar_of(symbol))

    def _end_shared(self, error: ItemError, started: float, items: Sequence[Item]) -> Iterator[Outcome]:
        """End all items after a call that they share: they wait while the provider is away."""
        until = None
        if isinstance(error, ProviderError) and error.may_be_away:
            until = self._watch.find_pause(CallFailure(error, started, time.monotonic()))
        yield from (fail_item(item, error) if until is None else Snoozed(item, until) for item in items)

    def _keep_due(self, wants: Sequence[Want]) -> list[Want]:
        """Return the wants whose bars can be there by now."""
        note = self._newest.waits_for
        if note is None:
            return list(wants)
        return [want for want in wants if not needs_day(want, note.day, self._rules_of(want.symbol))]

    def _plan_items(self, splits: Mapping[str, Sequence[Split]]) -> Iterator[Want | Outcome]:
        """Yield what is wanted for each item, or its outcome if there is nothing to load."""
        known = read_listings(self.context.connection, {item.symbol for item in self.items}, self._asked_since)
        self._listings = Listings(self.provider, known, self.listing_days > 0)
        by_timeframe: dict[str, list[Item]] = {}
        for item in self.items:
            by_timeframe.setdefault(item.timeframe or "day", []).append(item)
        for name, group in by_timeframe.items():
            frame = timeframe_named(name)
            stored = read_stored(self.context.connection, frame, [item.symbol for item in group])
            absent = read_absent(self.context.connection, frame, [item.symbol for item in group], self._asked_since)
            better = find_better(self.context.connection, frame, [item.symbol for item in group], self.provider.origin)
            for item in group:
                if item.symbol in better:
                    yield self._reject(item, frame)
                    continue
                have = stored.get(item.symbol)
                wanted = self._plan_item(item, frame, have, splits.get(item.symbol, ()))
                if isinstance(wanted, Want):
                    wanted = replace(wanted, absent=tuple(absent.get(item.symbol, ())))
                listing = self._listings.known.get(item.symbol)
                wanted = plan_delisted(wanted, listing, have, self._rules_of(item.symbol))
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
            if found.origin.rank < self.provider.origin.rank:
                return self._plan_repair(item, frame, found)
        present = self._read_present(item.symbol, frame, found) if self.rules.only_gaps else None
        rules = self._rules_of(item.symbol)
        return plan_load(item.seq, item.symbol, frame, rules, self._facts.kind, found, splits, present)

    def _plan_repair(self, item: Item, frame: Timeframe, found: StoredSeries) -> Want | NothingToLoad:
        """Plan to replace all bars of a lesser origin."""
        rules = replace(self._rules_of(item.symbol), only_gaps=False)
        plan = plan_load(item.seq, item.symbol, frame, rules, self._facts.kind, None)
        if isinstance(plan, NothingToLoad):
            return plan
        first = found.first.astimezone(EXCHANGE_ZONE).date() if isinstance(found.first, datetime) else found.first
        span = Span(min(plan.span.first, first), max(plan.span.last, rules.today))
        return replace(plan, span=span, replaces=f"{found.origin} bars of {found.provider}")

    def _reject(self, item: Item, frame: Timeframe) -> Outcome:
        return fail_item(
            item,
            ProvenanceError(
                f"the stored {frame.name} bars of {item.symbol} are better than those of {self.provider.name}, which"
                f" are {self.provider.origin} and never replace them"
            ),
        )

    def _read_present(self, symbol: str, frame: Timeframe, found: StoredSeries | None) -> Any:
        if found is None:
            return None
        span = self.rules.span
        first, last = whole_windows(frame, span.first, span.last) if span else (found.first, self.rules.today)
        begin, end = (bound_of(frame, moment, days) for moment, days in ((first, 0), (last, 1)))
        present = read_starts(self.context.connection, symbol, frame, begin, end)
        days = [at.astimezone(EXCHANGE_ZONE).date() if isinstance(at, datetime) else at for at in (first, last)]
        parts = self._rules_of(symbol).expected_parts(frame, Span(days[0], days[1]))
        absent = read_absent(self.context.connection, frame, [symbol]).get(symbol, [])
        return np.concatenate([part[is_among(part, present) | is_absent(part, absent)] for part in parts])

    def _read_splits(self) -> dict[str, list[Split]]:
        """Return the splits of the run's symbols since their bars were stored; fetched once for a run."""
        # Up to now, not to the run's moment: the provider adjusts prices as of now.
        first, last = self.splits_since, max(self.rules.today, self._today)
        if first is None or first >= last or self.provider.adjusted is not True:
            return {}
        splits = self._shared.read_splits(first, last)
        self._splits_unknown = splits is None
        return splits or {}

    def _group_days(self, fetches: Sequence[Fetch]) -> tuple[DaysOfAll, set[str]]:
        """Return days of all symbols, if they save calls, and the keys of the fetches that they serve."""
        # The day of all symbols is that of the stocks of New York.
        stocks = [fetch for fetch in fetches if self.grouped and self._is_of_new_york(fetch)]
        by_key = {fetch.key: list_grouped_days(fetch, self.rules) for fetch in stocks}
        found = {}
        for day in sorted({day for days in by_key.values() for day in days}):
            pages = self._shared.read_day(day)
            if pages is None:
                return DaysOfAll(self.provider.settings, {}, self.provider.now), set()
            found[day] = pages
        days = DaysOfAll(self.provider.settings, found, self.provider.now)
        wants = [want for fetch in fetches for want in fetch.wants if want.timeframe.name == "day"]
        own = {want.symbol for want in wants if (have := self._found.get(want.number)) and have.kind is not None}
        served = days.add_stored(
            self.context.connection, [fetch for fetch in fetches if by_key.get(fetch.key)], self.rules, own
        )
        return days, {fetch.key for fetch in served}

    def _is_of_new_york(self, fetch: Fetch) -> bool:
        return exchange_named(self.calendars.calendar_of(fetch.request.symbol)).zone == EXCHANGE_ZONE

    def _run(self, fetches: Sequence[tuple[Fetch, Provider]]) -> Iterator[Outcome]:
        """Run all fetches, several at once, and yield the outcomes of their items."""
        by_seq = {item.seq: item for item in self.items}
        self._waiting.calls_of_item = len(fetches) / max(1, sum(len(fetch.wants) for fetch, _ in fetches))
        keys = [fetch.key for fetch, _ in fetches]
        saved = read_checkpoint(self.context.connection, self.context.run_id, keys, self._midnight)
        started = time.monotonic()
        with ThreadPoolExecutor(self.threads, "load") as pool:
            futures: dict[Future[tuple[Fetch, list[Loaded]]], Fetch] = {
                pool.submit(self._fetch, fetch, provider, saved.get(fetch.key, ()), started): fetch
                for fetch, provider in fetches
            }
            try:
                for future in as_completed(futures):
                    if self.context.cancelled:
                        self._stop.set()
                    # Without the last reference to its results they would be in memory until the batch ends.
                    yield from self._finish_fetch(futures.pop(future), future, by_seq)
            finally:
                self._stop.set()
        self._history.keep()
        yield from self._end_troubled(by_seq)

    def _fetch(
        self, fetch: Fetch, provider: Provider, checkpoint: Collection[CheckpointPage], started: float
    ) -> tuple[Fetch, list[Loaded]]:
        """Fetch the bars of a series as far as the plan goes back; called from several threads."""
        if self._stop.is_set() or self._is_away() or time.monotonic() - started > BEGIN_SECONDS:
            raise StoppedError("not begun in time")
        if reason := self._notes.reason_to_stop(fetch.request.timeframe.name):
            raise PlanError(reason)
        begun = time.monotonic()
        try:
            return self._fetch_history(fetch, provider, checkpoint, started)
        finally:
            self._times[fetch.key] = (begun, time.monotonic())

    def _fetch_history(
        self, fetch: Fetch, provider: Provider, checkpoint: Collection[CheckpointPage], started: float
    ) -> tuple[Fetch, list[Loaded]]:
        chosen: Fetch | None = self._history.clip(fetch)
        while True:
            assert chosen is not None
            try:
                loaded = run_fetch(
                    chosen,
                    provider,
                    self._rules_of(fetch.request.symbol),
                    checkpoint,
                    lambda: self._stop.is_set() or time.monotonic() - started > STOP_SECONDS,
                    lambda pages: self._kept.__setitem__(fetch.key, pages),
                    partial(self._confirm, chosen, provider),
                )
            except TooOldError:
                chosen = self._history.find_later(chosen)
                if chosen is None:
                    raise
            else:
                self._answered_at = time.monotonic()
                self._answered.add(fetch.request.timeframe.name)
                return chosen, loaded

    def _confirm(self, fetch: Fetch, provider: Provider, results: Sequence[Loaded]) -> None:
        if provider is self.provider and self.confirms:
            rules = self._rules_of(fetch.request.symbol)
            explain_absence(results, rules, self._listings)
            confirm_absence(fetch, provider, rules, results, self._stop.is_set)

    def _is_away(self) -> bool:
        """True if a fetch has failed as if the provider were away, and none has succeeded since."""
        return any(trouble.failure.failed_at >= self._answered_at for trouble in self._troubled)

    def _finish_fetch(
        self, fetch: Fetch, future: Future[tuple[Fetch, list[Loaded]]], by_seq: Mapping[int, Item]
    ) -> Iterator[Outcome]:
        error = future.exception()
        if error is not None:
            yield from self._end_with_error(fetch, error, [by_seq[want.number] for want in fetch.wants])
            return
        fetch, results = future.result()
        if self._watch.probing:
            self._watch.note_answer()
        # A fake of the API confesses with its first answer.
        frames = {want.timeframe.name: want.timeframe for want in fetch.wants}.values()
        better = {frame.name for frame in frames if self._finds_better(frame, fetch.request.symbol)}
        yield from (
            self._reject(by_seq[want.number], want.timeframe) for want in fetch.wants if want.timeframe.name in better
        )
        results = [loaded for loaded in results if loaded.want.timeframe.name not in better]
        if not results:
            return
        if (until := self._find_wait(fetch, results)) is not None:
            yield from (Snoozed(by_seq[want.number], until) for want in fetch.wants)
            return
        # All wants of a fetch have the same rejected bars, which are counted once.
        for rule, count in results[0].rejected.items():
            self.context.tallies["provider_bars_rejected", self.provider.name, rule] += count
        for loaded in results:
            item, frame = by_seq[loaded.want.number], loaded.want.timeframe
            facts = replace(self._facts, rules=self._rules_of(item.symbol))
            outcome = complete_item(item, loaded, fetch, self._found.get(item.seq), facts)
            if isinstance(outcome, Completed):
                self.context.tallies["provider_bars", self.provider.name, frame.name] += loaded.spool.count
            yield outcome

    def _finds_better(self, frame: Timeframe, symbol: str) -> bool:
        origin = self.provider.origin
        return origin is not BarOrigin.REAL and bool(find_better(self.context.connection, frame, [symbol], origin))

    def _find_wait(self, fetch: Fetch, results: Sequence[Loaded]) -> datetime | None:
        """Return until when to wait if an answer lacks the newest day because the plan includes it later.

        The day of all symbols tells a day that is not there yet from a symbol that did not trade.
        """
        if self.rules.include_open or any(want.only is not None for want in fetch.wants):
            return None
        if not self._is_of_new_york(fetch):
            return None
        day = find_newest_session(self.rules, max(want.span.last for want in fetch.wants))
        if day is None or not lacks_day(fetch, results[0].newest, day):
            return None
        try:
            self._shared.read_day(day)
        except (WaitingError, RateLimitedError) as error:
            return error.until
        except BusyError:
            return _in(_SHARED_SECONDS)
        except ItemError as error:
            log.warning("load_day_unknown", day=str(day), run=self.context.run_id, reason=str(error))
        return None

    def _end_with_error(self, fetch: Fetch, error: BaseException, items: Sequence[Item]) -> Iterator[Outcome]:
        if pages := self._kept.pop(fetch.key, None):
            write_checkpoint(self.context.connection, self.context.run_id, fetch.key, pages)
        if isinstance(error, UnlikeAnswersError):
            delete_checkpoints(self.context.connection, self.context.run_id, [fetch.key])
        if isinstance(error, StoppedError):
            yield from (Snoozed(item, datetime.now(UTC)) for item in items)
        elif isinstance(error, NotYetError):
            waiting = self._newest.note_missing(fetch.request.last, error)
            yield from self._give_up_or(waiting.until, error, items)
        elif isinstance(error, RateLimitedError):
            # A fetch that has begun continues as soon as it can.
            until = error.until if pages else self._waiting.find_moment(error)
            yield from (Snoozed(item, until) for item in items)
        elif isinstance(error, ProviderError) and error.may_be_away:
            self._troubled.append(_Trouble(fetch, CallFailure(error, *self._times[fetch.key])))
        elif isinstance(error, ItemError | BadInputError):
            self._note_rejection(fetch, error)
            yield from (fail_item(item, error) for item in items)
        else:
            raise error

    def _give_up_or(self, until: datetime, error: ItemError, items: Sequence[Item]) -> Iterator[Outcome]:
        """Snooze items that wait for the newest day, or fail them once the run has waited long enough."""
        if self._newest.horizon is None:
            yield from (Snoozed(item, until) for item in items)
        else:
            yield from (fail_item(item, PermanentError(str(error))) for item in items)

    def _note_rejection(self, fetch: Fetch, error: Exception) -> None:
        """Stop where each of the calls that follow would be rejected for the same reason."""
        if isinstance(error, StopRunError):
            self._stop.set()
        elif isinstance(error, PlanError):
            name = fetch.request.timeframe.name
            self._rejected_by_plan[name] += 1
            if name not in self._answered and self._rejected_by_plan[name] == _ENOUGH_REJECTIONS:
                self._notes.write_stop(name, str(error))

    def _end_troubled(self, by_seq: Mapping[int, Item]) -> Iterator[Outcome]:
        """End the items whose calls failed as if the provider were away: it is to blame unless it answered later."""
        for fetch, failure in self._troubled:
            items = [by_seq[want.number] for want in fetch.wants]
            since = self._answered_at > failure.failed_at
            until = self._watch.find_pause(failure._replace(is_answered_since=since))
            yield from (fail_item(item, failure.error) if until is None else Snoozed(item, until) for item in items)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
