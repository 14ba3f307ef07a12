"""The rules of a client's calls: checks before the first write, retries where they are harmless, and waiting.

Everything here is steps (`steps.py`), for both clients.
"""

import math
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from streamworkers.client.door import Door
from streamworkers.client.parameter_checks import KnownJobs
from streamworkers.client.records import RunItem, RunState, RunStatus, Submitted
from streamworkers.client.steps import Pause, Steps
from streamworkers.errors import (
    BadInputError,
    FaultKind,
    NoResultError,
    RunRejectedError,
    ServiceUnreachableError,
    UnknownOutcomeError,
    WaitTimeoutError,
)

T = TypeVar("T")
MOST_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_LEAST_SECONDS = 0.5  # that a look at a run may take at the end of a wait
ITEMS_OF_A_PAGE = 1000
MOST_RUNS_OF_A_PAGE = 1000


class ClientCalls:
    """The calls of one client; `known` is kept from one to the next."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self._known = KnownJobs()

    def submit(self, requests: Sequence[Mapping[str, Any]], *, repeats: bool) -> Steps[list[Submitted]]:
        """Check requests and submit them, all or none.

        With `repeats`, a call that failed for a passing reason is repeated where that cannot make a second run. Raises
        what `submit_runs` raises, before anything is written.
        """
        if requests and self.door.checks_parameters:
            yield from self._check(requests)
        tries = MOST_TRIES if repeats and self.door.may_repeat(requests) else 1
        call_key = uuid.uuid4().hex
        return (yield from _repeating(lambda: self.door.submit(requests, call_key), tries))

    def cancel(self, run_id: int) -> Steps[int]:
        """Cancel a run; a call that failed for a passing reason is repeated."""
        return (yield from _repeating(lambda: self.door.cancel(run_id), MOST_TRIES))

    def wait(self, run_id: int, seconds: float) -> Steps[RunState]:
        """Return the state of a run when it has ended; looks after 50 ms, then more rarely, at last each second.

        A service that is away in between is waited for, too. Raises WaitTimeoutError after `seconds`, RunRejectedError
        for a run that the job's `prepare` rejected, and UnknownRunError.
        """
        if not 0 <= seconds < math.inf:
            raise BadInputError(f"{seconds} is no time to wait: name seconds from 0 on, and not for ever")
        deadline, pause, seen = time.monotonic() + seconds, _FIRST_PAUSE, "not read yet"
        while True:
            try:
                state = yield from self.door.read_run(run_id, max(_LEAST_SECONDS, deadline - time.monotonic()))
                if not state.is_open:
                    return _require_accepted(state)
                seen = state.status
            except ServiceUnreachableError as error:
                if error.kind is FaultKind.REJECTED:
                    raise
                seen = str(error)
            left = deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeoutError(f"run {run_id} has not ended within {seconds:g} s ({seen}); it goes on")
            yield Pause(min(left, pause * random.uniform(0.8, 1.2)))  # noqa: S311  # so that many do not ask at once
            pause = min(_LONGEST_PAUSE, pause * 1.5)

    def read_result(self, run_id: int, key: str, timeframe: str | None) -> Steps[Any]:
        """Return what the handler returned for an item. Raises NoResultError if it is not completed."""
        items = yield from self.door.find_items(run_id, key, timeframe)
        if not items:
            state = yield from self.door.read_run(run_id)  # raises if there is none
            known = "has no items yet" if state.is_open and state.prepared_at is None else "has no such item"
            raise NoResultError(f"run {run_id}, item {_name(key, timeframe)}: the run {known}")
        if len(items) > 1:
            raise BadInputError(f"run {run_id} has several items {key!r}: name the timeframe")
        return _require_result(items[0])

    def list_runs(self, chosen: Mapping[str, str | None], before: int | None, limit: int) -> Steps[list[RunState]]:
        """Return a page of runs. Raises BadInputError for a limit or a status that there is not."""
        if not 1 <= limit <= MOST_RUNS_OF_A_PAGE:
            raise BadInputError(f"limit {limit} is not a number from 1 to {MOST_RUNS_OF_A_PAGE}")
        if chosen["status"] not in (None, *get_args(RunStatus)):
            raise BadInputError(f"status {chosen['status']!r} is not one of {', '.join(get_args(RunStatus))}")
        return (yield from self.door.list_runs(chosen, before, limit))

    def _check(self, requests: Sequence[Mapping[str, Any]]) -> Steps[None]:
        if not any(request["parameters"] for request in requests):
            return
        was_old = self._known.is_old
        if was_old:
            self._known.keep((yield from self.door.read_jobs()))
        error = self._known.find_error(requests)
        if error is not None and not was_old:
            self._known.keep((yield from self.door.read_jobs()))  # a release that came since then may allow it
            error = self._known.find_error(requests)
        if error is not None:
            raise error


def _require_accepted(state: RunState) -> RunState:
    if state.status == "FAILED" and state.prepared_at is None:
        raise RunRejectedError(f"job {state.job!r} rejects run {state.id}: {state.reason}")
    return state


def _require_result(item: RunItem) -> Any:
    if item.status == "completed":
        return item.result
    detail = f": {item.error}" if item.error else ""
    raise NoResultError(f"run {item.run_id}, item {_name(item.key, item.timeframe)}: it is {item.status}{detail}")


def _name(key: str, timeframe: str | None) -> str:
    return repr(key) if timeframe is None else f"{key!r} ({timeframe})"


def _repeating(call: Callable[[], Steps[T]], tries: int) -> Steps[T]:
    pause = _FIRST_PAUSE
    for left in range(tries - 1, -1, -1):
        try:
            return (yield from call())
        except (ServiceUnreachableError, UnknownOutcomeError) as error:
            passes = isinstance(error, UnknownOutcomeError) or error.kind is not FaultKind.REJECTED
            if not left or not passes:
                raise
        yield Pause(pause)
        pause *= 4
    raise AssertionError("a call has at least one try")
