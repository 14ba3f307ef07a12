"""Calls to the outside world from a handler: claim, call, record, so that none is lost and a second one is named.

A message or an order cannot be undone, so a call cannot be repeated like the rest of an item. For each thing that a
handler has to call for, one by one, `call_outside` commits a claim with a fresh random token, makes the call, and
commits the answer where the claim is still its own, before it takes the next. A worker may die between any two steps:

========================  ==========================  ===========================================
it dies                   the next one finds          and the thing is
========================  ==========================  ===========================================
before the claim          it unclaimed                called
between claim and call    it claimed by another       ambiguous: called again, or held
during the call           it claimed by another       ambiguous: called again, or held
between call and record   it claimed by another       ambiguous: called again, or held
after the record          it closed                   not called
========================  ==========================  ===========================================

So no call is lost, and a call can be made twice only for a thing that was named ambiguous: it is logged
(`call_ambiguous`) before the second call, so that the line is not lost with another worker. A death leaves at most as
many things ambiguous as threads were calling. The policy decides what happens to them: `retry` calls again, for calls
that their receiver can recognise or that do no harm twice; `hold` leaves them to a person.
"""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import Generic, Literal, NamedTuple, TypeAlias

import psycopg
import structlog
from psycopg.pq import TransactionStatus
from typing_extensions import TypeVar

from streamworkers.database import Connection
from streamworkers.faults import describe

log = structlog.get_logger()
MOST_THREADS = 32
_TAKEN = "claimed by another worker that did not record an answer"
Policy: TypeAlias = Literal["retry", "hold"]
T = TypeVar("T")
V = TypeVar("V")


class Claim(StrEnum):
    """How a claim found its thing. Except for a closed one, it is claimed with the new token now."""

    FREE = "free"  # nobody's
    TAKEN = "taken"  # claimed with another token, so that a call may have been made
    CLOSED = "closed"  # there is nothing to call any more


class Answer(StrEnum):
    """What is known of a call."""

    YES = "yes"  # it took effect
    NO = "no"  # it took no effect, and can be made again
    UNKNOWN = "unknown"  # it may have taken effect


class NotDoneError(Exception):
    """Raised by `call` when it is certain that nothing took effect, such as when the receiver rejects it."""


class Reply(NamedTuple, Generic[V]):
    """The answer to one call: what `call` returned for a yes, else the reason, and the error of a no.

    `ambiguous` is true if the thing was found claimed by another, or if this call's own answer is unknown.
    """

    answer: Answer
    value: V | None = None
    reason: str = ""
    ambiguous: bool = False
    error: NotDoneError | None = None


class Later(NamedTuple):
    """Among the things to call for: none is due for so many seconds. Calls that end meanwhile are recorded."""

    seconds: float


class Result(NamedTuple, Generic[T, V]):
    """What happened to a thing. `reply` is None for one that was closed already.

    `recorded` is false if another worker claimed the thing during the call: its answer counts then, not this one.
    """

    thing: T
    reply: Reply[V] | None
    recorded: bool = True


class Outside(ABC, Generic[T, V]):
    """The author's part: the statements of a table of things to call for, and the call.

    The table needs a column for the claim. `claim` and `record` each run in a transaction of their own, in the thread
    of the handler.
    """

    @abstractmethod
    def claim(self, connection: Connection, thing: T, token: uuid.UUID) -> Claim:
        """Store the token with the thing unless it is closed, and return how it was found.

        It must lock the row that it reads: of two workers that claim at once one must find the other's token.
        """

    @abstractmethod
    def call(self, thing: T, token: uuid.UUID) -> V:
        """Call the outside, with a time limit well below that of the job; with several threads, in one of them.

        Returns if it took effect, raises NotDoneError if it certainly took none; any other error means that nobody
        knows. It must not use the connection.
        """

    @abstractmethod
    def record(self, connection: Connection, thing: T, token: uuid.UUID, reply: Reply[V]) -> bool:
        """Store the answer `WHERE claim = token`; returns whether a row had this claim.

        It clears the claim with an answer that is yes or no, and of what is held. If it keeps the claim of an unknown
        answer, the next claim finds it taken.
        """


class _Call(NamedTuple, Generic[T]):
    """A call that is being made."""

    thing: T
    token: uuid.UUID
    was_taken: bool


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
    in the list were not claimed, because `should_stop` became true. Raises what PostgreSQL raises, once the calls under
    way have ended and, as far as possible, are recorded; executing the item again continues.
    """
    policy_of = _require_valid(policy, threads)
    results: list[Result[T, V]] = []
    calls: dict[Future[Reply[V]], _Call[T]] = {}
    with ThreadPoolExecutor(threads, "outside") as pool:
        try:
            for thing in things:
                if should_stop():
                    break
                if isinstance(thing, Later):
                    results += _record_for(connection, outside, calls, thing.seconds)
                    continue
                call, result = _claim(connection, outside, thing, policy_of)
                if call is not None:
                    calls[pool.submit(_call, outside, call)] = call
                else:
                    results.append(result)
                if len(calls) == threads:
                    results += _record_done(connection, outside, calls)
            while calls:
                results += _record_done(connection, outside, calls)
        finally:
            _record_left(connection, outside, calls)
    return results


def _record_left(connection: Connection, outside: Outside[T, V], calls: dict[Future[Reply[V]], _Call[T]]) -> None:
    """After an error: what was called is recorded, if it can be; otherwise the next claim finds it taken."""
    for future, call in calls.items():
        with suppress(psycopg.Error):
            _record(connection, outside, call, future.result())


def _require_valid(policy: Policy | Callable[[T], Policy], threads: int) -> Callable[[T], Policy]:
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"{threads} threads is not between 1 and {MOST_THREADS}")
    if callable(policy):
        return policy
    if policy not in ("retry", "hold"):
        raise ValueError(f"policy {policy!r} is neither 'retry' nor 'hold'")
    return lambda _: policy


def _record_for(
    connection: Connection, outside: Outside[T, V], calls: dict[Future[Reply[V]], _Call[T]], seconds: float
) -> list[Result[T, V]]:
    """Record calls that end within so many seconds; returns after the first ones, as they may have made a thing due."""
    if calls:
        return _record_done(connection, outside, calls, seconds)
    time.sleep(seconds)
    return []


def _record_done(
    connection: Connection,
    outside: Outside[T, V],
    calls: dict[Future[Reply[V]], _Call[T]],
    seconds: float | None = None,
) -> list[Result[T, V]]:
    """Wait for the first calls to end, or so long, and record them."""
    done = wait(calls, seconds, FIRST_COMPLETED).done
    return [_record(connection, outside, calls.pop(future), future.result()) for future in done]


def _claim(
    connection: Connection, outside: Outside[T, V], thing: T, policy_of: Callable[[T], Policy]
) -> tuple[_Call[T] | None, Result[T, V]]:
    """Commit a claim; returns the call to make, or what happened to a thing that is not called."""
    token = uuid.uuid4()
    with _commit_at_once(connection):
        found = outside.claim(connection, thing, token)
    if found is Claim.CLOSED:
        return None, Result(thing, None)
    call = _Call(thing, token, was_taken=found is Claim.TAKEN)
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
