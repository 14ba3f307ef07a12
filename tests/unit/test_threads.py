"""No class of ours takes a name that `threading.Thread` uses for itself, in this Python or in a later one.

Python 3.13 keeps the thread's handle in `_handle`: a method of that name was hidden by it, there only.
"""

import importlib
import inspect
import pkgutil
import re
import threading
from collections.abc import Iterator

import pytest

import scheduler
import streamworkers

# Of 3.11 to 3.14; those that a class may define, as `run`, are not among them.
_TAKEN = {
    *(
        "_after_fork",
        "_args",
        "_bootstrap",
        "_bootstrap_inner",
        "_context",
        "_daemonic",
        "_delete",
        "_handle",
        "_ident",
    ),
    *("_initialized", "_invoke_excepthook", "_is_stopped", "_kwargs", "_name", "_native_id", "_os_thread_handle"),
    *("_reset_internal_locks", "_set_ident", "_set_native_id", "_set_tstate_lock", "_started", "_stderr", "_stop"),
    *("_target", "_tstate_lock", "_wait_for_tstate_lock"),
}


def _thread_classes() -> Iterator[type]:
    for package in (streamworkers, scheduler):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    waiting: list[type] = [threading.Thread]
    while waiting:
        found: list[type] = waiting.pop().__subclasses__()
        waiting += found
        yield from (each for each in found if each.__module__.split(".")[0] in ("streamworkers", "scheduler"))


THREADS = sorted(set(_thread_classes()), key=lambda each: each.__qualname__)


def _own_names(thread: type) -> set[str]:
    return {*vars(thread), *re.findall(r"\bself\.(\w+)\b[^=\n(]*=[^=]", inspect.getsource(thread))}


@pytest.mark.parametrize("thread", THREADS)
def test_a_thread_uses_no_name_of_threads(thread: type) -> None:
    assert _own_names(thread) & _TAKEN == set()


def test_the_names_are_seen() -> None:
    class Bad(threading.Thread):
        def __init__(self) -> None:
            super().__init__()
            self._name: str = "x"

        def _handle(self) -> None: ...

    assert len(THREADS) >= 10
    assert _own_names(Bad) & _TAKEN == {"_handle", "_name"}
    assert {name for name in dir(threading.Thread()) if re.match("_[a-z]", name)} <= _TAKEN
