"""Following a run: its events one after the other, behind the last one that is known, whatever is away in between."""

import math
import random
import time

from streamworkers.client.door import Door
from streamworkers.client.records import RunEvent
from streamworkers.client.steps import Pause, Steps
from streamworkers.errors import BadInputError, FaultKind, ServiceUnreachableError, WaitTimeoutError

LONGEST_SECONDS = 3600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_LEAST_SECONDS = 0.5  # that a look may take at the end
_LARGEST_SEQ = 2**31 - 1


class Following:
    """Where one who follows a run is. `is_over` when the run has ended and its last event is known."""

    def __init__(self, door: Door, run_id: int, after: int, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            raise BadInputError(f"{seconds} is no time to follow a run: name seconds from 0 on, and not for ever")
        if not 0 <= after <= _LARGEST_SEQ:
            raise BadInputError(f"after {after} is not the number of an event, from 0 to {_LARGEST_SEQ}")
        self.is_over = False
        self._door, self._run_id, self._after = door, run_id, after
        self._seconds, self._deadline = seconds, time.monotonic() + seconds
        self._pause = _FIRST_PAUSE

    def read_page(self) -> Steps[list[RunEvent]]:
        """Return the next events as soon as there are any, or none at the end of the run.

        A service that is away is waited for. Raises WaitTimeoutError when the time is over, and UnknownRunError.
        """
        while True:
            left, seen = self._deadline - time.monotonic(), "no other one"
            try:
                page = yield from self._door.read_events(self._run_id, self._after, max(_LEAST_SECONDS, left))
                if page.events or page.is_over:
                    self._pause, self.is_over = _FIRST_PAUSE, page.is_over
                    self._after = page.events[-1].seq if page.events else self._after
                    return page.events
                has_waited = self._door.waits
            except ServiceUnreachableError as error:
                if error.kind is FaultKind.REJECTED:
                    raise
                seen, has_waited = str(error), False
            left = self._deadline - time.monotonic()
            if left <= 0:
                text = f"run {self._run_id} has not ended within {self._seconds:g} s"
                raise WaitTimeoutError(f"{text} (behind event {self._after}: {seen}); it goes on")
            if not has_waited:
                yield Pause(min(left, self._pause * random.uniform(0.8, 1.2)))  # noqa: S311
                self._pause = min(_LONGEST_PAUSE, self._pause * 1.5)
