"""What a call to a provider is for, as the metric of calls says it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum


class Purpose(StrEnum):
    """What asks for an answer of a provider; a label value of metrics."""

    LOAD = "load"
    RELOAD = "reload"  # all stored bars of a series, because of a split, other hours or a lesser origin
    FILL_GAPS = "fill_gaps"
    CHECK = "check"  # stored bars again, for late corrections
    CONFIRM = "confirm"  # a second time what an answer left out
    DAY_OF_ALL = "day_of_all"
    SPLITS = "splits"
    LISTING = "listing"
    PROBE = "probe"  # whether a provider that was away is back


_purpose = ContextVar("purpose", default=Purpose.LOAD)


@contextmanager
def calling_for(purpose: Purpose) -> Iterator[None]:
    """Count the calls that this thread makes in the block as calls for a purpose."""
    token = _purpose.set(purpose)
    try:
        yield
    finally:
        _purpose.reset(token)


def current_purpose() -> Purpose:
    """Return what the calls of this thread are for now."""
    return _purpose.get()
