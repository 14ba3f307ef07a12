"""Runs the fetches of a batch in threads, and keeps what the others have to know of each: answers, failures, pages."""

import threading
import time
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial

from streamworkers.loading.batch_scope import BatchScope
from streamworkers.loading.checkpoints import CheckpointPage, CheckpointPages
from streamworkers.loading.confirm import confirm_absence, explain_absence
from streamworkers.loading.fetch import Loaded, StoppedError, run_fetch
from streamworkers.loading.fetch_plan import Fetch
from streamworkers.loading.listings import Listings
from streamworkers.loading.outages import CallFailure
from streamworkers.loading.providers.provider import PlanError, Provider, ProviderError, TooOldError
from streamworkers.loading.purpose import calling_for

BEGIN_SECONDS = 30.0  # fetches that have not begun by then go back to the queue
STOP_SECONDS = 240.0  # fetches stop between two pages after this time, well below the time limit of a call
_ENOUGH_REJECTIONS = 10  # symbols that the plan does not include, until a timeframe counts as not included
FetchResult = Future[tuple[Fetch, list[Loaded]]]


class FetchThreads:
    """The threads of one batch; each method is called by the thread that iterates over `run`."""

    def __init__(self, scope: BatchScope, listings: Listings) -> None:
        self._scope, self._listings = scope, listings
        self._stop = threading.Event()
        self._started = 0.0
        self._kept: dict[str, CheckpointPages] = {}
        self._times: dict[str, tuple[float, float]] = {}
        self._answered_at = -1.0
        self._answered: set[str] = set()
        self._troubled: list[tuple[Fetch, CallFailure]] = []
        self._rejected_by_plan: Counter[str] = Counter()
        self._not_included: dict[str, str] = {}
        self._lock = threading.Lock()

    def run(
        self, fetches: Sequence[tuple[Fetch, Provider]], saved: Mapping[str, Collection[CheckpointPage]]
    ) -> Generator[tuple[Fetch, FetchResult], None, None]:
        """Run all fetches, several at once, each from its saved pages on, and yield each as soon as it has ended."""
        self._started = time.monotonic()
        with ThreadPoolExecutor(self._scope.settings.load_threads, "load") as pool:
            futures: dict[FetchResult, Fetch] = {
                pool.submit(self._fetch, fetch, provider, saved.get(fetch.key, ())): fetch
                for fetch, provider in fetches
            }
            try:
                for future in as_completed(futures):
                    if self._scope.context.cancelled:
                        self.stop()
                    # Without the last reference to its results they would be in memory until the batch ends.
                    yield futures.pop(future), future
            finally:
                self.stop()

    def stop(self) -> None:
        """Let no fetch begin any more, and each end after its page."""
        self._stop.set()

    def take_pages(self, fetch: Fetch) -> CheckpointPages | None:
        """Return the pages that a failed fetch has, once."""
        return self._kept.pop(fetch.key, None)

    def note_trouble(self, fetch: Fetch, error: ProviderError) -> None:
        """Note that a fetch has failed as if the provider were away; it is judged when all others have ended."""
        self._troubled.append((fetch, CallFailure(error, *self._times[fetch.key])))

    def list_troubled(self) -> Iterator[tuple[Fetch, CallFailure]]:
        """Yield what was noted, with whether another fetch was answered since."""
        for fetch, failure in self._troubled:
            yield fetch, failure._replace(is_answered_since=self._answered_at > failure.failed_at)

    def note_not_included(self, fetch: Fetch) -> None:
        """Note for the batches that follow that the plan does not include a timeframe, if that is known by now."""
        name = fetch.request.timeframe.name
        reason = self._not_included.get(name)
        if reason is not None and self._scope.notes.reason_to_stop(name) is None:
            self._scope.notes.write_stop(name, reason)

    def _fetch(
        self, fetch: Fetch, provider: Provider, checkpoint: Collection[CheckpointPage]
    ) -> tuple[Fetch, list[Loaded]]:
        """Fetch the bars of a series as far as the plan goes back; called from several threads."""
        begun = time.monotonic()
        if self._stop.is_set() or self._is_away() or begun - self._started > BEGIN_SECONDS:
            raise StoppedError("not begun in time")
        name = fetch.request.timeframe.name
        if reason := self._not_included.get(name) or self._scope.notes.reason_to_stop(name):
            raise PlanError(reason)
        try:
            with calling_for(self._scope.purpose_of(fetch)):
                return self._fetch_history(fetch, provider, checkpoint)
        except PlanError as error:
            self._count_rejection(name, str(error))
            raise
        finally:
            self._times[fetch.key] = (begun, time.monotonic())

    def _count_rejection(self, timeframe: str, reason: str) -> None:
        """Count a rejection by the plan; after several in a timeframe the rest of it is not asked for.

        The threads count, because many of them may have ended before the first result is looked at.
        """
        with self._lock:
            self._rejected_by_plan[timeframe] += 1
            if timeframe not in self._answered and self._rejected_by_plan[timeframe] == _ENOUGH_REJECTIONS:
                self._not_included[timeframe] = reason

    def _fetch_history(
        self, fetch: Fetch, provider: Provider, checkpoint: Collection[CheckpointPage]
    ) -> tuple[Fetch, list[Loaded]]:
        chosen: Fetch | None = self._scope.history.clip(fetch)
        while True:
            assert chosen is not None
            try:
                loaded = run_fetch(
                    chosen,
                    provider,
                    self._scope.rules_of(fetch.request.symbol),
                    checkpoint,
                    lambda: self._stop.is_set() or time.monotonic() - self._started > STOP_SECONDS,
                    lambda pages: self._kept.__setitem__(fetch.key, pages),
                    partial(self._confirm, chosen, provider),
                )
            except TooOldError:
                chosen = self._scope.history.find_later(chosen)
                if chosen is None:
                    raise
            else:
                self._answered_at = time.monotonic()
                self._answered.add(fetch.request.timeframe.name)
                return chosen, loaded

    def _confirm(self, fetch: Fetch, provider: Provider, results: Sequence[Loaded]) -> None:
        if provider is self._scope.provider and self._scope.settings.load_confirm:
            rules = self._scope.rules_of(fetch.request.symbol)
            explain_absence(results, rules, self._listings)
            confirm_absence(fetch, provider, rules, results, self._stop.is_set)

    def _is_away(self) -> bool:
        """True if a fetch has failed as if the provider were away, and none has succeeded since."""
        return any(failure.failed_at >= self._answered_at for _, failure in self._troubled)
