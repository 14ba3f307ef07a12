"""A Redis Streams worker pool for market analysis: PostgreSQL is the truth, Redis is the transport.

The names below are the stable API (docs/reference/stability.md). They are imported when they are first used, so that
`import streamworkers` loads neither NumPy nor a client of Redis or PostgreSQL.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; the module `typing` takes as long to import as all of this
if TYPE_CHECKING:
    from streamworkers.engine.job import Context, Job, JobCounter, JobHistogram, JobParameters, RunRequest
    from streamworkers.engine.limits import ConcurrencyLimit, RateLimit
    from streamworkers.engine.outcome import Completed, Event, Failed, Item, Snoozed
    from streamworkers.errors import BadInputError, ItemError, PermanentError, StopRunError, StreamworkersError
    from streamworkers.loading.providers.provider import Provider
    from streamworkers.notifications.notify import notify

__all__ = [
    "BadInputError",
    "Completed",
    "ConcurrencyLimit",
    "Context",
    "Event",
    "Failed",
    "Item",
    "ItemError",
    "Job",
    "JobCounter",
    "JobHistogram",
    "JobParameters",
    "PermanentError",
    "Provider",
    "RateLimit",
    "RunRequest",
    "Snoozed",
    "StopRunError",
    "StreamworkersError",
    "notify",
]

__version__: str

_MODULES = {
    "BadInputError": "streamworkers.errors",
    "Completed": "streamworkers.engine.outcome",
    "ConcurrencyLimit": "streamworkers.engine.limits",
    "Context": "streamworkers.engine.job",
    "Event": "streamworkers.engine.outcome",
    "Failed": "streamworkers.engine.outcome",
    "Item": "streamworkers.engine.outcome",
    "ItemError": "streamworkers.errors",
    "Job": "streamworkers.engine.job",
    "JobCounter": "streamworkers.engine.job",
    "JobHistogram": "streamworkers.engine.job",
    "JobParameters": "streamworkers.engine.job",
    "PermanentError": "streamworkers.errors",
    "Provider": "streamworkers.loading.providers.provider",
    "RateLimit": "streamworkers.engine.limits",
    "RunRequest": "streamworkers.engine.job",
    "Snoozed": "streamworkers.engine.outcome",
    "StopRunError": "streamworkers.errors",
    "StreamworkersError": "streamworkers.errors",
    "notify": "streamworkers.notifications.notify",
}


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        value = import_module("importlib.metadata").version("streamworkers")
    elif name in _MODULES:
        value = getattr(import_module(_MODULES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
