"""Tests of one's own jobs: inline, with real services, with workers that are killed (docs/guides/testing.md).

The names below are stable API. They are imported when they are first used: a test of a job inline needs no pytest, and
a suite that has the plugin and does not use it loads none of this. No module of the product imports it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamworkers.testing.harness import JobHarness
    from streamworkers.testing.tried import HarnessRun, TriedItem

__all__ = ["HarnessRun", "JobHarness", "TriedItem"]

_MODULES = {
    "HarnessRun": "streamworkers.testing.tried",
    "JobHarness": "streamworkers.testing.harness",
    "TriedItem": "streamworkers.testing.tried",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
