"""The limits of jobs as they are now: how many items run, and how many wait."""

from dataclasses import dataclass

from streamworkers.engine.limits import Limit, RateLimit
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit: how many items it lets run at once, or begin in a time, and how many do, over all values of its key.

    `keys` is the number of values of which an item runs or waits; None for a limit without a key.
    """

    name: str
    kind: str
    limit: str
    jobs: tuple[str, ...]
    in_use: int
    waiting: int
    keys: int | None


def read_limit_states(streams: Streams, registry: Registry) -> list[LimitState]:
    """Return the limits of all installed jobs by name, each with what Redis knows of it."""
    return [_read_state(streams, registry, name, limit) for name, limit in sorted(registry.limits.items())]


def _read_state(streams: Streams, registry: Registry, name: str, limit: Limit) -> LimitState:
    usage = streams.places.read_usage(name, limit.seconds if isinstance(limit, RateLimit) else None)
    jobs = tuple(sorted(job.name for job in registry.values() if any(each.name == name for each in job.limits)))
    in_use, waiting = sum(each.held for each in usage.values()), sum(each.waiting for each in usage.values())
    return LimitState(name, limit.kind, limit.text, jobs, in_use, waiting, None if limit.key is None else len(usage))
