"""Executes one call of the job `load_ohlcv`: plans its items, fetches in threads, yields an outcome for each item."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from streamworkers.engine.outcome import Item, Outcome, Snoozed
from streamworkers.errors import ItemError
from streamworkers.loading.batch_scope import BatchScope
from streamworkers.loading.checkpoints import read_checkpoint
from streamworkers.loading.fetch_ends import FetchEnds
from streamworkers.loading.fetch_plan import Fetch, plan_fetches
from streamworkers.loading.fetch_threads import FetchThreads
from streamworkers.loading.grouped_days import DaysOfAll, list_grouped_days
from streamworkers.loading.item_plans import ItemPlans
from streamworkers.loading.newest_day import WaitingError, needs_day
from streamworkers.loading.outages import CallFailure, PausedError
from streamworkers.loading.outcomes import fail_item
from streamworkers.loading.plan import Want
from streamworkers.loading.providers.provider import Provider, ProviderError, RateLimitedError, Split
from streamworkers.loading.shared_answers import BusyError
from streamworkers.market.calendar.session_table import read_sessions
from streamworkers.market.calendar.windows import EXCHANGE_CALENDAR


@dataclass
class LoadBatch:
    """The items of one call, which belong to one run."""

    items: Sequence[Item]
    scope: BatchScope

    def outcomes(self) -> Iterator[Outcome]:
        """Yield the outcome of each item as soon as it is known."""
        scope, started = self.scope, time.monotonic()
        for calendar in {EXCHANGE_CALENDAR, *scope.calendars.group(item.symbol for item in self.items)}:
            read_sessions(scope.context.connection, calendar)
        scope.notes.read()
        scope.history.begin()
        left = {item.seq: item for item in self.items}
        try:
            scope.watch.require_there()
            if (horizon := scope.newest.horizon) is not None:
                scope.rules = replace(scope.rules, now=min(scope.rules.now, horizon))
            plans = ItemPlans.of(scope, self.items)
            wants: list[Want] = []
            for outcome in plans.plan(self.items, self._read_splits()):
                if isinstance(outcome, Want):
                    wants.append(outcome)
                else:
                    del left[outcome.item.seq]
                    yield outcome
            fetches = plan_fetches(self._keep_due(wants), scope.provider, scope.rules)
            # While the provider may be away, one call is enough to find out.
            fetches = fetches[:1] if scope.watch.probing else fetches
            days, served = self._group_days(fetches)
        except (BusyError, RateLimitedError, PausedError, WaitingError) as error:
            yield from (Snoozed(item, error.until) for item in left.values())
        except ItemError as error:
            yield from self._end_shared(error, started, list(left.values()))
        else:
            planned = {want.number for fetch in fetches for want in fetch.wants}
            until = note.until if (note := scope.newest.waits_for) else datetime.now(UTC)
            yield from (Snoozed(left[seq], until) for seq in left if seq not in planned)
            yield from self._run([(one, days if one.key in served else scope.provider) for one in fetches], plans)

    def _end_shared(self, error: ItemError, started: float, items: Sequence[Item]) -> Iterator[Outcome]:
        """End all items after a call that they share: they wait while the provider is away."""
        until = None
        if isinstance(error, ProviderError) and error.may_be_away:
            until = self.scope.watch.find_pause(CallFailure(error, started, time.monotonic()))
        yield from (fail_item(item, error) if until is None else Snoozed(item, until) for item in items)

    def _keep_due(self, wants: Sequence[Want]) -> list[Want]:
        """Return the wants whose bars can be there by now."""
        note = self.scope.newest.waits_for
        if note is None:
            return list(wants)
        return [want for want in wants if not needs_day(want, note.day, self.scope.rules_of(want.symbol))]

    def _read_splits(self) -> Mapping[str, list[Split]]:
        """Return the splits of the run's symbols since their bars were stored; fetched once for a run."""
        # Up to now, not to the run's moment: the provider adjusts prices as of now.
        scope = self.scope
        first, last = scope.context.parameters.splits_since, max(scope.rules.today, scope.today)
        if first is None or first >= last or scope.provider.adjusted is not True:
            return {}
        splits = scope.shared.read_splits(first, last)
        scope.splits_unknown = splits is None
        return splits or {}

    def _group_days(self, fetches: Sequence[Fetch]) -> tuple[DaysOfAll, set[str]]:
        """Return days of all symbols, if they save calls, and the keys of the fetches that they serve."""
        scope = self.scope
        stocks = [fetch for fetch in fetches if scope.context.parameters.grouped and scope.is_of_new_york(fetch)]
        by_key = {fetch.key: list_grouped_days(fetch, scope.rules) for fetch in stocks}
        found = {}
        for day in sorted({day for days in by_key.values() for day in days}):
            pages = scope.shared.read_day(day)
            if pages is None:
                return DaysOfAll(scope.settings, {}, scope.provider.now), set()
            found[day] = pages
        days = DaysOfAll(scope.settings, found, scope.provider.now)
        wants = [want for fetch in fetches for want in fetch.wants if want.timeframe.name == "day"]
        own = {want.symbol for want in wants if (have := scope.found.get(want.number)) and have.kind is not None}
        served = days.add_stored(
            scope.context.connection, [fetch for fetch in fetches if by_key.get(fetch.key)], scope.rules, own
        )
        return days, {fetch.key for fetch in served}

    def _run(self, fetches: Sequence[tuple[Fetch, Provider]], plans: ItemPlans) -> Iterator[Outcome]:
        """Run all fetches, several at once, and yield the outcomes of their items."""
        scope = self.scope
        scope.waiting.calls_of_item = len(fetches) / max(1, sum(len(fetch.wants) for fetch, _ in fetches))
        keys = [fetch.key for fetch, _ in fetches]
        saved = read_checkpoint(scope.context.connection, scope.context.run_id, keys, scope.midnight)
        threads = FetchThreads(scope, plans.listings)
        ends = FetchEnds(scope, threads, {item.seq: item for item in self.items})
        with closing(threads.run(fetches, saved)) as ended:
            for fetch, result in ended:
                yield from ends.end(fetch, result)
        scope.history.keep()
        yield from ends.end_troubled()
