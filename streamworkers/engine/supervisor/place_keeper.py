"""Keeps the places of limits that this supervisor's workers hold, and gives back those of workers that have ended.

A place lapses when its call must have ended; only a Redis that has lost its data forgets it before. So a heartbeat
takes the places of long calls again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamworkers.engine.limits import count_places
from streamworkers.engine.redis.lanes import list_lanes
from streamworkers.engine.redis.places import HeldPlace, Places
from streamworkers.engine.registry import Registry
from streamworkers.logger import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class PlaceHolder:
    """A consumer with the places that it has held for a while, and the ms after which they lapse."""

    consumer: str
    places: Sequence[HeldPlace]
    life_ms: int


@dataclass(slots=True)
class PlaceKeeper:
    """The places of one supervisor's workers. Raises RedisUnavailableError; each step is safe to repeat."""

    places: Places
    jobs: Registry
    _retaken: dict[str, set[HeldPlace]] = field(default_factory=dict)

    def free(self, consumer: str, held: Iterable[HeldPlace]) -> None:
        """Give back places of a worker, and wake who is next."""
        found = list(held)
        names = {place.bucket.partition(":")[0] for place in found}
        queues = list_lanes(sorted({queue for name in names for queue in self.jobs.queues_of_limit(name)}))
        self.places.free(consumer, count_places(self.jobs.limits, found), queues)

    def keep(self, holders: Sequence[PlaceHolder]) -> None:
        """Take places again that Redis has lost; those that were given back at that moment are given back again."""
        held = {holder.consumer: set(holder.places) for holder in holders}
        for consumer, places in list(self._retaken.items()):
            if left := places - held.get(consumer, set()):
                self.free(consumer, left)
            del self._retaken[consumer]
        for holder in holders:
            found = count_places(self.jobs.limits, holder.places)
            if count := self.places.keep(holder.consumer, holder.life_ms, found):
                self._retaken[holder.consumer] = set(holder.places)
                log.warning("places_taken_again", consumer=holder.consumer, count=count)
