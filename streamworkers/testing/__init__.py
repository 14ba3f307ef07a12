"""Tests of one's own jobs: inline, with real services, with workers that are killed (docs/guides/testing.md).

The names below are stable API. They are imported when they are first used: a test of a job inline needs no pytest, and
a suite that has the plugin and does not use it loads none of this. No module of the product imports it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamworkers.testing.clock import JobClock
    from streamworkers.testing.crashes import CrashPoint, crash_between
    from streamworkers.testing.exactly_once import assert_exactly_once
    from streamworkers.testing.harness import JobHarness
    from streamworkers.testing.installation import Installation
    from streamworkers.testing.pool import RunningPool, StartPool
    from streamworkers.testing.tried import HarnessRun, TriedItem

__all__ = [
    "CrashPoint",
    "HarnessRun",
    "Installation",
    "JobClock",
    "JobHarness",
    "RunningPool",
    "StartPool",
    "TriedItem",
    "assert_exactly_once",
    "crash_between",
]

_MODULES = {
    "CrashPoint": "streamworkers.testing.crashes",
    "HarnessRun": "streamworkers.testing.tried",
    "Installation": "streamworkers.testing.installation",
    "JobClock": "streamworkers.testing.clock",
    "JobHarness": "streamworkers.testing.harness",
    "RunningPool": "streamworkers.testing.pool",
    "StartPool": "streamworkers.testing.pool",
    "TriedItem": "streamworkers.testing.tried",
    "assert_exactly_once": "streamworkers.testing.exactly_once",
    "crash_between": "streamworkers.testing.crashes",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
