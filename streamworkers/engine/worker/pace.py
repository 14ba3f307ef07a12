"""Keeps the rates of jobs: a call begins when the slot book says so, and begins at once then."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from streamworkers.engine.limits import RateLimit
from streamworkers.engine.redis.places import PlaceRequest, Places, book_of
from streamworkers.engine.redis.slot_book import SLACK, CallLimit, SlotBook, SlotRequest

# A call begins a little after Redis has counted it: windows are longer in the book by this, and by its own slack.
PAD_SECONDS = 0.02
_ROUNDING_SECONDS = 0.003
_TRIES = 3
# A slot that is so near is waited for in hand; a worker that waits does nothing else.
_NEAR_SECONDS = 0.05
# How many calls are booked ahead, and how far at most. The others come again when they are near enough.
_CALLS_AHEAD = 100
_LEAST_AHEAD_SECONDS, _MOST_AHEAD_SECONDS = 1.0, 600.0
_LEAST_WAIT_SECONDS = 0.05


class RateRequest(NamedTuple):
    """An item that wants to begin, and the rates that it counts against, each with the name of its bucket."""

    item: PlaceRequest
    rates: Sequence[tuple[str, RateLimit]]

    @property
    def limits(self) -> list[CallLimit]:
        """The rates as the book knows them."""
        return [(book_of(bucket), rate.calls, rate.seconds + PAD_SECONDS) for bucket, rate in self.rates]

    @property
    def ahead_seconds(self) -> float:
        """How far ahead its slot may be."""
        far = min(_CALLS_AHEAD * rate.seconds / rate.calls for _, rate in self.rates)
        return min(max(far, _LEAST_AHEAD_SECONDS), _MOST_AHEAD_SECONDS)

    @property
    def tolerance_seconds(self) -> float:
        """How long after Redis has counted it a call may begin, so that all windows hold."""
        shortest = min(rate.seconds for _, rate in self.rates) + PAD_SECONDS
        return PAD_SECONDS + SLACK / 2 * shortest - _ROUNDING_SECONDS


@dataclass(frozen=True, slots=True)
class Pacer:
    """Begins calls within their rates. The rest of a batch waits in line, and the first of it have slots."""

    book_of_slots: SlotBook
    places: Places

    def begin(self, request: RateRequest) -> bool:
        """Return whether a call may begin: now, at once, or it counts for nothing."""
        for _ in range(_TRIES):
            name = f"{request.item.token}.{secrets.token_hex(8)}"
            asked = time.monotonic()
            slot = self.book_of_slots.begin(
                SlotRequest(request.item.token, request.limits, name), request.ahead_seconds
            )
            if slot.seconds > _NEAR_SECONDS or not slot.is_booked:
                return False
            if slot.seconds:
                time.sleep(slot.seconds)
            elif time.monotonic() - asked <= request.tolerance_seconds / 2:
                self.step_out([request])
                return True
            else:
                self.book_of_slots.release(SlotRequest(name, request.limits))
        return False

    def book(self, requests: Sequence[RateRequest]) -> list[float]:
        """Line up items that wait; returns for each in how many seconds to ask again: in its slot, if it has one."""
        waits = self._line_up(requests)
        near = [number for number, wait in enumerate(waits) if wait <= requests[number].ahead_seconds]
        if near:
            words = [SlotRequest(requests[number].item.token, requests[number].limits) for number in near]
            slots = self.book_of_slots.book(words, min(requests[number].ahead_seconds for number in near))
            for number, slot in zip(near, slots, strict=True):
                waits[number] = max(slot.seconds, _LEAST_WAIT_SECONDS)
        return waits

    def step_out(self, requests: Sequence[RateRequest]) -> None:
        """Let items wait no more."""
        for bucket, items in _by_bucket(requests).items():
            self.places.step_out(bucket, items)

    def _line_up(self, requests: Sequence[RateRequest]) -> list[float]:
        """Return when the turn of each comes, by those before it; one that is far behind looks again earlier."""
        numbers = {request.item.token: number for number, request in enumerate(requests)}
        seconds_each = {bucket: rate.seconds / rate.calls for each in requests for bucket, rate in each.rates}
        waits = [0.0] * len(requests)
        for bucket, items in _by_bucket(requests).items():
            for item, before in zip(items, self.places.line_up(bucket, items), strict=True):
                number = numbers[item.token]
                ahead = requests[number].ahead_seconds
                turn = before * seconds_each[bucket]
                wait = turn if turn <= ahead else min(turn - ahead / 2, _MOST_AHEAD_SECONDS)
                waits[number] = max(waits[number], wait)
        return waits


def _by_bucket(requests: Sequence[RateRequest]) -> dict[str, list[PlaceRequest]]:
    found: dict[str, list[PlaceRequest]] = {}
    for request in requests:
        for bucket, _ in request.rates:
            found.setdefault(bucket, []).append(request.item)
    return found
