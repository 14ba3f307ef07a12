"""Every error that streamworkers raises on purpose.

::

    StreamworkersError
    ├── UsageError                 the caller asked for something that breaks a rule
    │   ├── UnknownNameError       no job, indicator, universe, … of that name; suggests the nearest
    │   └── BadInputError          a value in a file, entry or definition breaks a rule
    ├── ServiceUnreachableError    Redis or PostgreSQL does not answer, or nothing says where it is
    │   └── RedisUnavailableError  Redis is away, loading, full or read-only: try again later
    ├── MigrationError             the schema and the migration files disagree
    └── ItemError                  raised by handlers
        └── PermanentError         trying again cannot help: the item is dead at once

A message names the value, the rule it broke and, where there is one, the way out.
"""

import difflib
from collections.abc import Iterable


class StreamworkersError(Exception):
    """Root of the tree."""


class UsageError(StreamworkersError):
    """The caller asked for something that breaks a rule."""


class UnknownNameError(UsageError):
    """Nothing of that name exists; the message lists or suggests what does."""

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


class BadInputError(UsageError):
    """A value breaks a rule; the message names both."""


class ServiceUnreachableError(StreamworkersError):
    """Redis or PostgreSQL does not answer, or nothing says where it is."""


class RedisUnavailableError(ServiceUnreachableError):
    """Redis cannot do this now."""


class MigrationError(StreamworkersError):
    """The schema and the migration files disagree."""


class ItemError(StreamworkersError):
    """An item could not be done; it is tried again until its attempts are used up."""


class PermanentError(ItemError):
    """An item can never be done; it is dead at once, whatever attempts are left."""
