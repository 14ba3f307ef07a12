"""Every error that streamworkers raises on purpose.

::

    StreamworkersError
    ├── UsageError                 a name, value or request breaks a rule
    │   ├── MissingSchemaError     the database lacks migrations
    │   ├── UnknownNameError       no job, indicator, universe, … has this name; suggests the nearest
    │   ├── UnknownJobError        no process of the pool has the job of a submitted run
    │   ├── UnknownRunError        a client's login has no run of this id
    │   ├── RunEndedError          only a run that has not ended can be cancelled
    │   └── BadInputError          a value in a file, entry or definition breaks a rule
    │       └── KeyConflictError   an idempotency key belongs to a run of another request
    ├── ServiceUnreachableError    Redis or PostgreSQL cannot be used; `kind` says why, or its URL is not set
    │   └── RedisUnavailableError  Redis is away, rejects a call or is full: wait, and try again
    ├── BlockedError               another session holds a lock in PostgreSQL for too long
    ├── PrepareError               a job's `prepare` failed, by an error of the job's own
    ├── MigrationError             the schema and the migration files disagree
    ├── RunRejectedError           what was submitted is rejected by its job's `prepare`
    ├── WaitTimeoutError           a client has waited for a run for as long as it wanted
    ├── NoResultError              an item has no result: it failed, was cancelled, or is open
    ├── UnknownOutcomeError        nobody knows whether a call took effect; repeat it with the same key
    └── ItemError                  raised by handlers
        └── PermanentError         another attempt cannot succeed: the item is dead at once
            └── StopRunError       nor can any other item of the run: the run fails at once

A message names the value, the rule that it breaks and, if there is one, the remedy.
"""

import difflib
from collections.abc import Iterable, Sequence
from enum import StrEnum


class Store(StrEnum):
    """What a process keeps its data in; a label value of metrics."""

    REDIS = "redis"
    POSTGRESQL = "postgresql"


class FaultKind(StrEnum):
    """Why a store cannot be used now; a label value of metrics."""

    AWAY = "away"  # no answer, or the answer that it cannot work now: it comes back
    REJECTED = "rejected"  # it answers that it will not do this: somebody has to correct a right, a name or the schema
    FULL = "full"  # no memory, disk space or connection is left


class StreamworkersError(Exception):
    """The root of all errors that the package raises."""


class UsageError(StreamworkersError):
    """A name, value or request breaks a rule."""


class UnknownNameError(UsageError):
    """Nothing has this name; the message suggests or lists the names that exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = find_near(name, names)
        if near is not None:
            hint = f"did you mean {near!r}?"
        elif not names:
            hint = f"there is no {kind} yet"
        elif len(names) <= 20:
            hint = f"known: {', '.join(names)}"
        else:
            hint = f"there are {len(names)}, from {names[0]!r} to {names[-1]!r}"
        super().__init__(f"no {kind} is named {name!r}; {hint}")
        self.kind, self.name = kind, name


def find_near(name: str, names: Sequence[str]) -> str | None:
    """The nearest of some names, also if only the case of its letters is other; None if none is near."""
    if near := difflib.get_close_matches(name, names, n=1):
        return near[0]
    folded = {each.casefold(): each for each in reversed(names)}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return folded[near[0]] if near else None


class UnknownJobError(UsageError):
    """No process of the pool has this job, so nobody could prepare a run of it; the message suggests the nearest."""


class UnknownRunError(UsageError):
    """A client's login has no run of this id: nobody has submitted it, or the transaction has not committed."""


class RunEndedError(UsageError):
    """A run has ended, and what was asked for needs one that has not."""


class MissingSchemaError(UsageError):
    """The database lacks migrations of this release."""


class BadInputError(UsageError):
    """A value breaks a rule; the message names both."""


class KeyConflictError(BadInputError):
    """An idempotency key belongs to a run of another request; the message names what differs."""


class QueuePauseError(BadInputError):
    """A queue is paused already, or one that is to go on is not paused."""


class ServiceUnreachableError(StreamworkersError):
    """Redis or PostgreSQL cannot be used, or its URL is not set; `store` is None where there is none to ask."""

    store: Store | None = None

    def __init__(self, text: str, kind: FaultKind = FaultKind.AWAY, store: Store | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.store = store or self.store


class RedisUnavailableError(ServiceUnreachableError):
    """Redis is away, rejects a call or is full; the same call can succeed later."""

    store = Store.REDIS


class PrepareError(StreamworkersError):
    """A job's `prepare` failed by an error of its own, so no run can be made."""


class BlockedError(StreamworkersError):
    """Another session holds a lock in PostgreSQL for longer than a statement may wait."""


class RunRejectedError(StreamworkersError):
    """A submitted run got no items, because its job's `prepare` rejected the request; the message is its reason."""


class WaitTimeoutError(StreamworkersError, TimeoutError):
    """A client has waited for as long as it wanted; the run goes on."""


class NoResultError(StreamworkersError):
    """An item has no result; the message says its state, and its error if it failed."""


class UnknownOutcomeError(StreamworkersError):
    """The connection was lost when a change was being committed, so that nobody knows whether it took effect."""


class MigrationError(StreamworkersError):
    """The schema and the migration files disagree."""


class ItemError(StreamworkersError):
    """Executing an item failed; it is retried until its attempts are used up."""


class PermanentError(ItemError):
    """An item can never succeed; it is dead at once, whatever attempts are left."""


class StopRunError(PermanentError):
    """No item of the run can succeed: the run fails at once, with this reason, and its open items are cancelled."""


# The SQLSTATEs of `submit_runs`, and the errors of this package for the same faults.
SUBMIT_ERRORS: dict[str, type[UsageError]] = {
    "SW001": BadInputError,
    "SW002": UnknownJobError,
    "SW003": KeyConflictError,
}
