"""Limits that jobs declare for themselves: how many items run at once, and begin in a time, in the whole fleet.

A worker asks for room before it calls a handler (`engine/worker/limit_gate.py`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import isfinite
from typing import Any, ClassVar, Literal, TypeAlias

from streamworkers.engine.outcome import Item
from streamworkers.engine.redis.places import HeldPlace
from streamworkers.errors import BadInputError
from streamworkers.names import find_name_error

# A place lapses so long after its call must have ended: by then the supervisor has killed what runs longer.
PLACE_GRACE_SECONDS = 15.0
MOST_PLACES = 10_000
MOST_CALLS = 5_000
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 86_400.0
# A longer value of a key is known by its digest.
LONGEST_KEY = 100
LimitKey: TypeAlias = Callable[[Item, Any], str]  # of an item and the parameters of its run


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """At most so many items run at once, of all jobs that declare it: one place for each item of a call.

    With `key`, a function of the item and the parameters of its run, it holds for each value of the key.
    """

    kind: ClassVar[str] = "concurrency"

    name: str
    places: int
    key: LimitKey | None = None

    @property
    def text(self) -> str:
        """The limit in words, as people are shown it."""
        return f"{self.places} at once"


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `calls` items begin in any `seconds`, of all jobs that declare it: calls then have one item each.

    With `per="batch"` calls are counted, whatever the number of their items. With `key`, a function of the item and the
    parameters of its run, it holds for each value of the key.
    """

    kind: ClassVar[str] = "rate"

    name: str
    calls: int
    seconds: float = 1.0
    per: Literal["item", "batch"] = "item"
    key: LimitKey | None = None

    @property
    def text(self) -> str:
        """The limit in words, as people are shown it."""
        return f"{self.calls} in {self.seconds:g} s"


Limit: TypeAlias = ConcurrencyLimit | RateLimit


def require_sound_limits(job: str, limits: Any) -> None:
    """Raise BadInputError for limits of a job that break a rule; they are its author's, of any type."""
    if not isinstance(limits, tuple) or not all(isinstance(limit, ConcurrencyLimit | RateLimit) for limit in limits):
        raise BadInputError(f"limits of job {job!r} is not a tuple of RateLimit and ConcurrencyLimit: {limits!r:.200}")
    for limit in limits:
        if (problem := find_name_error("limit", limit.name)) is not None:
            raise BadInputError(f"{problem}: job {job!r}")
        if (problem := _find_problem(limit)) is not None:
            raise BadInputError(f"limit {limit.name!r} of job {job!r}: {problem}")
    names = [limit.name for limit in limits]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInputError(f"limit {twice!r} of job {job!r} is declared twice")


def _find_problem(limit: Limit) -> str | None:
    key: Any = limit.key
    if key is not None and not callable(key):
        return f"key {key!r:.100} is not a function of an item and its run's parameters"
    if isinstance(limit, ConcurrencyLimit):
        return None if _is_whole(limit.places, MOST_PLACES) else f"places {limit.places!r} is not 1 to {MOST_PLACES:,}"
    if not _is_whole(limit.calls, MOST_CALLS):
        return f"calls {limit.calls!r} is not 1 to {MOST_CALLS:,}"
    seconds: Any = limit.seconds
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and isfinite(seconds)
    if not is_number or not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        return f"seconds {seconds!r} is not {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:,.0f}"
    if limit.per not in ("item", "batch"):
        return f"per {limit.per!r} is not 'item' or 'batch'"
    if limit.per == "batch" and limit.key is not None:
        return "a rate of batches has no key, as the items of a batch may differ in it"
    return None


def _is_whole(number: Any, most: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= most


def join_limits(declared: Iterable[tuple[str, Sequence[Limit]]]) -> Mapping[str, Limit]:
    """Return the limits of jobs by name. Raises BadInputError for one that two jobs declare differently."""
    found: dict[str, tuple[str, Limit]] = {}
    for job, limits in declared:
        for limit in limits:
            first, known = found.setdefault(limit.name, (job, limit))
            if known != limit:
                raise BadInputError(
                    f"limit {limit.name!r} of jobs {first!r} and {job!r} is one limit, but they declare it differently"
                    f" ({_describe(known)}; {_describe(limit)}): declare it once, and use that in both"
                )
    return {name: limit for name, (_, limit) in found.items()}


def _describe(limit: Limit) -> str:
    per = ", per batch" if isinstance(limit, RateLimit) and limit.per == "batch" else ""
    key = "" if limit.key is None else f", by {getattr(limit.key, '__qualname__', repr(limit.key))}"
    return f"{limit.text}{per}{key}"


def name_bucket(limit: Limit, item: Item, parameters: Any) -> str:
    """Return what an item is counted under: the limit's name, with the value of its key if it has one.

    Calls the job's code. Raises TypeError for a value that is not a text, and what that code raises.
    """
    if limit.key is None:
        return limit.name
    value: Any = limit.key(item, parameters)
    if not isinstance(value, str):
        raise TypeError(f"the key of limit {limit.name!r} is {value!r:.100} for {item.key}, not a text")
    size = len(value.encode())
    return f"{limit.name}:{value if size <= LONGEST_KEY else sha256(value.encode()).hexdigest()}"


def count_places(limits: Mapping[str, Limit], held: Sequence[HeldPlace]) -> list[tuple[HeldPlace, int]]:
    """Return places that somebody holds, each with the number of its bucket; those of unknown limits are left out."""
    found = ((place, limits.get(place.bucket.partition(":")[0])) for place in held)
    return [(place, limit.places) for place, limit in found if isinstance(limit, ConcurrencyLimit)]


def place_seconds(timeout_seconds: float) -> float:
    """Return for how long a place is held at most: until its call, and then `save`, must have ended."""
    return 2 * timeout_seconds + PLACE_GRACE_SECONDS
