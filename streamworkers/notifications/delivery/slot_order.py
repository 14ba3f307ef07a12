"""The order of calls: by the slots that limits allow, and where several are free, by priority, then age."""

import heapq
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

from streamworkers.engine.outside import Later
from streamworkers.engine.redis.slot_book import Slot, SlotBook, SlotRequest

MOST_WAIT_SECONDS = 2.0  # for a slot; who has to wait longer gives the worker to others
LEFT_ALONE_SECONDS = 5.0  # of one whose provider does not answer; other processes may send it meanwhile
_SOON_SECONDS = 0.1
_LONGEST_PAUSE = 0.5


def renew_token(request: SlotRequest) -> SlotRequest:
    """Return a request for another call of the same delivery: the slot of the call before stays in the book."""
    return request._replace(token=f"{request.token[:36]}/{secrets.token_hex(4)}")


class SlotOrder:
    """Says which delivery is next. Slots are booked just ahead of their calls, so that few are lost with a worker."""

    def __init__(
        self,
        book: SlotBook,
        requests: dict[UUID, SlotRequest],
        calls_ahead: int,
        is_left_alone: Callable[[UUID], bool],
    ) -> None:
        self._book = book
        self._is_left_alone = is_left_alone
        self._requests = requests
        self._calls_ahead = calls_ahead
        self._unbooked = deque(requests)
        self._booked: list[tuple[float, int, UUID]] = []
        self._count = 0
        self._under_way: set[UUID] = set()
        self.waits: dict[UUID, float] = {}  # of those whose slot is too far ahead: the seconds until it

    def due(self) -> Iterator[UUID | Later]:
        """Yield deliveries as their slots come, and `Later` while none has come."""
        while self._unbooked or self._booked or self._under_way:
            self._book_ahead()
            pause = self._booked[0][0] - time.monotonic() if self._booked else _LONGEST_PAUSE
            if pause > 0:
                yield Later(min(pause, _LONGEST_PAUSE))
                continue
            _, _, thing = heapq.heappop(self._booked)
            if self._is_left_alone(thing):
                self._book.release(self._requests[thing])
                self.waits[thing] = LEFT_ALONE_SECONDS
                continue
            slot = self._book.begin(self._requests[thing], MOST_WAIT_SECONDS)
            if self._is_now(thing, slot, time.monotonic()):
                self._under_way.add(thing)
                yield thing

    def ended(self, thing: UUID, *, has_more: bool) -> None:
        """A call has ended, or was not made; `has_more`: the next part of the delivery is to be sent."""
        self._under_way.discard(thing)
        if has_more:
            self._requests[thing] = renew_token(self._requests[thing])
            self._unbooked.appendleft(thing)

    def _book_ahead(self) -> None:
        """Book until as many slots are near as calls can be made."""
        while self._unbooked:
            near = sum(at <= time.monotonic() + _SOON_SECONDS for at, _, _ in self._booked)
            count = min(self._calls_ahead - near, len(self._unbooked))
            if count <= 0:
                return
            for thing in self._ask([self._unbooked.popleft() for _ in range(count)]):
                heapq.heappush(self._booked, (time.monotonic(), self._count, thing))

    def _ask(self, things: Iterable[UUID]) -> list[UUID]:
        """Book slots; returns the deliveries whose slot is now. Others wait, here or in the ledger."""
        asked = list(things)
        slots = self._book.book([self._requests[thing] for thing in asked], MOST_WAIT_SECONDS)
        now = time.monotonic()
        return [thing for thing, slot in zip(asked, slots, strict=True) if self._is_now(thing, slot, now)]

    def _is_now(self, thing: UUID, slot: Slot, now: float) -> bool:
        self._count += 1
        if not slot.is_booked:
            self.waits[thing] = slot.seconds
        elif slot.seconds > 0:
            heapq.heappush(self._booked, (now + slot.seconds, self._count, thing))
        return slot.is_booked and slot.seconds <= 0
