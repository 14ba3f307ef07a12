"""When the items of a run that wait for calls ask again: as many in a minute as there are calls, not all of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from streamworkers.engine.job import Context
from streamworkers.loading.providers.provider import RateLimitedError
from streamworkers.loading.turn import SHARE_OF_RUN

_ASKERS_OF_A_CALL = 1.25  # a call for which nobody asks in its minute is lost
_LONGEST_SECONDS = 7 * 86_400.0


@dataclass
class WaitingItems:
    """The items of a run that wait, in some of the `queues`, for a provider's `calls_per_minute`.

    A call is held for the next few of them. Each of the others asks again at a random moment of the time that the calls
    for all of them take, so that an item asks a few times, however many wait. Runs that wait beside this one get as
    many calls, as long as they have items. `calls_of_item` is below 1 where timeframes share a request.
    """

    context: Context[Any]
    queues: tuple[str, ...]
    calls_per_minute: int
    calls_of_item: float = 1.0
    _minutes: float | None = None
    _rng: random.Random = field(default_factory=random.Random)

    def find_moment(self, error: RateLimitedError) -> datetime:
        """Return when a fetch that has not begun asks again."""
        if error.is_held or not self.calls_per_minute:
            return error.until
        if self._minutes is None:
            calls = self._count_items(error.beside) * self.calls_of_item
            self._minutes = calls / self.calls_per_minute / _ASKERS_OF_A_CALL
        seconds = min(self._minutes * 60 * self._rng.random(), _LONGEST_SECONDS)
        return max(error.until, datetime.now(UTC) + timedelta(seconds=seconds))

    def _count_items(self, beside: Sequence[str]) -> int:
        """Return how many items have got their calls when the last one of this run has, also those of other runs.

        They are counted in Redis: a hint, 0 if it was lost.
        """
        own = self.context.run_id
        names = (share.removeprefix(SHARE_OF_RUN) for share in beside if share.startswith(SHARE_OF_RUN))
        others = [int(name) for name in names if name.isdecimal()]
        counts = dict.fromkeys((own, *others), 0)
        for queue in self.queues:
            found = self.context.inspector.read_open_counts_of(queue, list(counts))
            counts = {run: max(counts[run], found[run] or 0) for run in counts}
        return sum(min(counts[run], counts[own]) for run in counts)
