"""Every error that streamworkers raises on purpose.

::

    StreamworkersError
    ├── UsageError                 a name, value or request breaks a rule
    │   ├── UnknownNameError       no job, indicator, universe, … has this name; suggests the nearest
    │   ├── UnknownJobError        no process of the pool has the job of a submitted run
    │   └── BadInputError          a value in a file, entry or definition breaks a rule
    │       └── KeyConflictError   an idempotency key belongs to a run of another request
    ├── ServiceUnreachableError    Redis or PostgreSQL does not answer, or its URL is not set
    │   └── RedisUnavailableError  Redis is unreachable, loading, full or read-only: try again later
    ├── BlockedError               another session holds a lock in PostgreSQL for too long
    ├── MigrationError             the schema and the migration files disagree
    └── ItemError                  raised by handlers
        └── PermanentError         another attempt cannot succeed: the item is dead at once

A message names the value, the rule that it breaks and, if there is one, the remedy.
"""

import difflib
from collections.abc import Iterable


class StreamworkersError(Exception):
    """The root of all errors that the package raises."""


class UsageError(StreamworkersError):
    """A name, value or request breaks a rule."""


class UnknownNameError(UsageError):
    """Nothing has this name; the message suggests or lists the names that exist."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1)
        if near:
            hint = f"did you mean {near[0]!r}?"
        elif not names:
            hint = f"there is no {kind} yet"
        elif len(names) <= 20:
            hint = f"known: {', '.join(names)}"
        else:
            hint = f"there are {len(names)}, from {names[0]!r} to {names[-1]!r}"
        super().__init__(f"no {kind} is named {name!r}; {hint}")
        self.kind, self.name = kind, name


class UnknownJobError(UsageError):
    """No process of the pool has this job, so nobody could prepare a run of it; the message suggests the nearest."""


class BadInputError(UsageError):
    """A value breaks a rule; the message names both."""


class KeyConflictError(BadInputError):
    """An idempotency key belongs to a run of another request; the message names what differs."""


class ServiceUnreachableError(StreamworkersError):
    """Redis or PostgreSQL does not answer, or its URL is not set."""


class RedisUnavailableError(ServiceUnreachableError):
    """Redis is unreachable, loading, full or read-only; the same call can succeed later."""


class BlockedError(StreamworkersError):
    """Another session holds a lock in PostgreSQL for longer than a statement may wait."""


class MigrationError(StreamworkersError):
    """The schema and the migration files disagree."""


class ItemError(StreamworkersError):
    """Executing an item failed; it is retried until its attempts are used up."""


class PermanentError(ItemError):
    """An item can never succeed; it is dead at once, whatever attempts are left."""
