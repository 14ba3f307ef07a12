"""Claims, calls and records, several calls at once."""

import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import partial
from typing import Generic, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus

from streamworkers.database import Connection
from streamworkers.engine.outside.contract import (
    Answer,
    Claim,
    Late,
    Later,
    NotDoneError,
    Outside,
    Policy,
    Reply,
    Result,
    T,
    V,
)
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()
MOST_THREADS = 32
MOST_LEFT = 16
_TAKEN = "claimed by another worker that did not record an answer"


class _Call(NamedTuple, Generic[T]):
    """A call that is being made; at `leaves_at` it may be left."""

    thing: T
    token: uuid.UUID
    was_taken: bool
    leaves_at: float = math.inf


def call_outside(
    connection: Connection,
    outside: Outside[T, V],
    things: Iterable[T | Later],
    *,
    policy: Policy | Callable[[T], Policy],
    threads: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Result[T, V]]:
    """Claim, call and record each thing, up to `threads` at once; returns what happened to each.

    `things` may be a generator, asked when a thread is free, that yields `Later` while none is due. For use in
    `execute`, whose connection commits each statement; not in `save`, nor in an open transaction. Things that are not
    in the list were not claimed, because `should_stop` became true, or their calls were left. Raises what PostgreSQL
    raises, once the calls under way have ended and, as far as possible, are recorded; executing the item again
    continues.
    """
    policy_of = _require_valid(policy, threads)
    results: list[Result[T, V]] = []
    # Calls that are left keep their threads; the others are those that `threads` allows.
    pool = ThreadPoolExecutor(threads + MOST_LEFT, "outside")
    calls = _Calls(connection, outside, pool, policy_of)
    try:
        for thing in things:
            if should_stop():
                break
            if isinstance(thing, Later):
                results += calls.record_for(thing.seconds)
            else:
                results += calls.begin(thing)
            while len(calls.under_way) == threads:
                results += calls.record_done()
        while calls.under_way:
            results += calls.record_done()
    finally:
        calls.record_rest()
        pool.shutdown(wait=False)
    return results


class _Calls(Generic[T, V]):
    """The calls that are under way and waited for."""

    def __init__(
        self,
        connection: Connection,
        outside: Outside[T, V],
        pool: ThreadPoolExecutor,
        policy_of: Callable[[T], Policy],
    ) -> None:
        self._connection, self._outside, self._pool, self._policy_of = connection, outside, pool, policy_of
        self.under_way: dict[Future[Reply[V]], _Call[T]] = {}
        self._left = 0

    def begin(self, thing: T) -> list[Result[T, V]]:
        """Claim a thing and call for it in a thread; returns what happened to one that is not called."""
        call, result = _claim(self._connection, self._outside, thing, self._policy_of)
        if call is None:
            return [result]
        self.under_way[self._pool.submit(_call, self._outside, call)] = call
        return []

    def record_rest(self) -> None:
        """After an error: what was called is recorded, if it can be; otherwise the next claim finds it taken."""
        for future, call in self.under_way.items():
            with suppress(psycopg.Error):
                _record(self._connection, self._outside, call, future.result())

    def record_for(self, seconds: float) -> list[Result[T, V]]:
        """Record calls that end within so many seconds; returns after the first, as it may have made a thing due."""
        if self.under_way:
            return self.record_done(seconds)
        time.sleep(seconds)
        return []

    def record_done(self, seconds: float | None = None) -> list[Result[T, V]]:
        """Wait for the first calls to end, or so long, and record them. Calls that take long may be left."""
        leaves_at = min(call.leaves_at for call in self.under_way.values())
        if leaves_at < math.inf:
            left_over = max(0.0, leaves_at - time.monotonic())
            seconds = left_over if seconds is None else min(seconds, left_over)
        done = wait(self.under_way, seconds, FIRST_COMPLETED).done
        if not done and time.monotonic() >= leaves_at:
            self._leave()
        return [_record(self._connection, self._outside, self.under_way.pop(one), one.result()) for one in done]

    def _leave(self) -> None:
        """Leave the calls that take too long, and that their author lets be left."""
        for future, call in list(self.under_way.items()):
            if call.leaves_at > time.monotonic():
                continue
            with _commit_at_once(self._connection):
                may_be_left = self._left < MOST_LEFT
                late = self._outside.leave(self._connection, call.thing, call.token) if may_be_left else None
            if late is None:
                self.under_way[future] = call._replace(leaves_at=math.inf)
                continue
            self._left += 1
            del self.under_way[future]
            log.info("call_left", thing=str(call.thing), token=str(call.token))
            future.add_done_callback(partial(_record_late, late, call))


def _require_valid(policy: Policy | Callable[[T], Policy], threads: int) -> Callable[[T], Policy]:
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"{threads} threads is not between 1 and {MOST_THREADS}")
    if callable(policy):
        return policy
    if policy not in ("retry", "hold"):
        raise ValueError(f"policy {policy!r} is neither 'retry' nor 'hold'")
    return lambda _: policy


def _record_late(late: Late[T, V], call: _Call[T], future: Future[Reply[V]]) -> None:
    """Record an answer that came late; if it cannot be recorded, the next claim finds the thing taken."""
    try:
        with late.connect() as connection:
            _record(connection, late.outside, call, future.result())
    except Exception as error:  # noqa: BLE001  # a thread has nobody who would hear of it
        log.warning("late_answer_lost", thing=str(call.thing), token=str(call.token), error=describe(error))


def _claim(
    connection: Connection, outside: Outside[T, V], thing: T, policy_of: Callable[[T], Policy]
) -> tuple[_Call[T] | None, Result[T, V]]:
    """Commit a claim; returns the call to make, or what happened to a thing that is not called."""
    token = uuid.uuid4()
    with _commit_at_once(connection):
        found = outside.claim(connection, thing, token)
    if found is Claim.CLOSED:
        return None, Result(thing, None)
    call = _Call(thing, token, found is Claim.TAKEN, time.monotonic() + outside.leaves_after)
    if call.was_taken:
        _log_ambiguous(call, Answer.UNKNOWN, _TAKEN)
        if policy_of(thing) == "hold":
            return None, _record(connection, outside, call, Reply[V](Answer.UNKNOWN, None, _TAKEN, True))
    return call, Result(thing, None)


def _call(outside: Outside[T, V], call: _Call[T]) -> Reply[V]:
    """Make a call; every end of it is an answer."""
    try:
        return Reply(Answer.YES, outside.call(call.thing, call.token), "", call.was_taken)
    except NotDoneError as error:
        return Reply(Answer.NO, None, describe(error), call.was_taken, error)
    except BaseException as error:  # noqa: BLE001  # the author's, and raised after the request may have left
        return Reply(Answer.UNKNOWN, None, describe(error), True)


def _record(connection: Connection, outside: Outside[T, V], call: _Call[T], reply: Reply[V]) -> Result[T, V]:
    """Commit the answer, and name the thing if this call has made it ambiguous."""
    with _commit_at_once(connection):
        recorded = outside.record(connection, call.thing, call.token, reply)
    if not recorded or (reply.ambiguous and not call.was_taken):
        _log_ambiguous(call, reply.answer, reply.reason, recorded=recorded)
    return Result(call.thing, reply, recorded)


def _log_ambiguous(call: _Call[T], answer: Answer, reason: str, *, recorded: bool = True) -> None:
    words = {"thing": str(call.thing), "answer": str(answer), "recorded": recorded, "reason": reason}
    log.warning("call_ambiguous", token=str(call.token), **words)


@contextmanager
def _commit_at_once(connection: Connection) -> Iterator[None]:
    """A transaction that is on disk when the block ends. Raises RuntimeError where it could not be one of its own."""
    if not connection.autocommit or connection.info.transaction_status in (
        TransactionStatus.INTRANS,
        TransactionStatus.INERROR,
    ):
        raise RuntimeError("call_outside cannot commit: it was called in save, or in an open transaction")
    with connection.transaction():
        connection.execute(
            "SELECT set_config('synchronous_commit', 'on', true)"
            " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
        )
        yield
