"""Turns the ends of fetches into outcomes of their items: bars, a failure, or when to try again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from streamworkers.engine.outcome import Completed, Item, Outcome, Snoozed
from streamworkers.errors import BadInputError, ItemError, PermanentError, StopRunError
from streamworkers.loading.batch_scope import BatchScope
from streamworkers.loading.checkpoints import delete_checkpoints, write_checkpoint
from streamworkers.loading.fetch import Loaded, StoppedError
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.fetch_threads import FetchResult, FetchThreads
from streamworkers.loading.item_plans import reject_item
from streamworkers.loading.newest_day import WaitingError, find_newest_session, lacks_day
from streamworkers.loading.outcomes import complete_item, fail_item
from streamworkers.loading.providers.provider import (
    NotYetError,
    PlanError,
    ProviderError,
    RateLimitedError,
    UnlikeAnswersError,
)
from streamworkers.loading.shared_answers import BusyError
from streamworkers.logger import get_logger

log = get_logger()


class FetchEnds:
    """The outcomes of the fetches of one batch, whose items are `by_seq`."""

    def __init__(self, scope: BatchScope, threads: FetchThreads, by_seq: Mapping[int, Item]) -> None:
        self._scope, self._threads, self._by_seq = scope, threads, by_seq

    def end(self, fetch: Fetch, future: FetchResult) -> Iterator[Outcome]:
        """Yield the outcomes of the items of one fetch; none yet if the provider may be away."""
        error = future.exception()
        if error is not None:
            yield from self._end_with_error(fetch, error)
            return
        fetch, results = future.result()
        if self._scope.watch.probing:
            self._scope.watch.note_answer()
        yield from self._end_with_bars(fetch, results)

    def end_troubled(self) -> Iterator[Outcome]:
        """Yield the outcomes of fetches that failed as if the provider were away, when all others have ended."""
        for fetch, failure in self._threads.list_troubled():
            until = self._scope.watch.find_pause(failure)
            for item in self._items_of(fetch):
                yield fail_item(item, failure.error) if until is None else Snoozed(item, until)

    def _items_of(self, fetch: Fetch) -> list[Item]:
        return [self._by_seq[want.number] for want in fetch.wants]

    def _end_with_bars(self, fetch: Fetch, results: Sequence[Loaded]) -> Iterator[Outcome]:
        scope = self._scope
        frames = {want.timeframe.name: want.timeframe for want in fetch.wants}.values()
        better = {frame.name for frame in frames if scope.finds_better(frame, fetch.request.symbol)}
        for want in fetch.wants:
            if want.timeframe.name in better:
                yield reject_item(self._by_seq[want.number], want.timeframe, scope.provider)
        results = [loaded for loaded in results if loaded.want.timeframe.name not in better]
        if not results:
            return
        if (until := self._find_wait(fetch, results)) is not None:
            yield from (Snoozed(item, until) for item in self._items_of(fetch))
            return
        tallies, name = scope.context.tallies, scope.provider.name
        # All wants of a fetch have the same rejected bars, which are counted once.
        for rule, count in results[0].rejected.items():
            tallies["provider_bars_rejected", name, rule] += count
        for loaded in results:
            item = self._by_seq[loaded.want.number]
            facts = replace(scope.facts, rules=scope.rules_of(item.symbol))
            outcome = complete_item(item, loaded, fetch, scope.found.get(item.seq), facts)
            if isinstance(outcome, Completed):
                tallies["provider_bars", name, loaded.want.timeframe.name] += loaded.spool.count
            yield outcome

    def _find_wait(self, fetch: Fetch, results: Sequence[Loaded]) -> datetime | None:
        """Return until when to wait if an answer lacks the newest day because the plan includes it later.

        The day of all symbols tells a day that is not there yet from a symbol that did not trade.
        """
        rules = self._scope.rules
        if rules.include_open or any(want.only is not None for want in fetch.wants):
            return None
        if not self._scope.is_of_new_york(fetch):
            return None
        day = find_newest_session(rules, max(want.span.last for want in fetch.wants))
        if day is None or not lacks_day(fetch, results[0].newest, day):
            return None
        try:
            self._scope.shared.read_day(day)
        except (WaitingError, RateLimitedError, BusyError) as error:
            return error.until
        except ItemError as error:
            log.warning("load_day_unknown", day=str(day), run=self._scope.context.run_id, reason=str(error))
        return None

    def _end_with_error(self, fetch: Fetch, error: BaseException) -> Iterator[Outcome]:
        connection, run_id, items = self._scope.context.connection, self._scope.context.run_id, self._items_of(fetch)
        if pages := self._threads.take_pages(fetch):
            write_checkpoint(connection, run_id, fetch.key, pages)
        if isinstance(error, UnlikeAnswersError):
            delete_checkpoints(connection, run_id, [fetch.key])
        if isinstance(error, StoppedError):
            yield from (Snoozed(item, datetime.now(UTC)) for item in items)
        elif isinstance(error, NotYetError):
            waiting = self._scope.newest.note_missing(fetch.request.last, error)
            yield from self._give_up_or(waiting.until, error, items)
        elif isinstance(error, RateLimitedError):
            # A fetch that has begun continues as soon as it can.
            until = error.until if pages else self._scope.waiting.find_moment(error)
            yield from (Snoozed(item, until) for item in items)
        elif isinstance(error, ProviderError) and error.may_be_away:
            self._threads.note_trouble(fetch, error)
        elif isinstance(error, ItemError | BadInputError):
            self._note_rejection(fetch, error)
            yield from (fail_item(item, error) for item in items)
        else:
            raise error

    def _give_up_or(self, until: datetime, error: ItemError, items: Sequence[Item]) -> Iterator[Outcome]:
        """Snooze items that wait for the newest day, or fail them once the run has waited long enough."""
        if self._scope.newest.horizon is None:
            yield from (Snoozed(item, until) for item in items)
        else:
            yield from (fail_item(item, PermanentError(str(error))) for item in items)

    def _note_rejection(self, fetch: Fetch, error: Exception) -> None:
        """Stop where each of the calls that follow would be rejected for the same reason."""
        if isinstance(error, StopRunError):
            self._threads.stop()
        elif isinstance(error, PlanError):
            self._threads.note_not_included(fetch)
