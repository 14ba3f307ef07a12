"""Ends a process with SIGKILL at a named point of its own code, once: what crash tests of all kinds share."""

import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any


def die_once(mark: Path, why: str = "") -> None:
    """Kill this process, unless a process has died of this mark; of several that come at once, one dies."""
    try:
        with mark.open("x", encoding="utf-8") as file:
            file.write(why)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def call_before(place: Any, name: str, action: Callable[..., None]) -> None:
    """Let a function or method call `action` with its arguments before it begins."""
    function = getattr(place, name)

    @wraps(function)
    def call(*words: Any, **named: Any) -> Any:
        action(*words, **named)
        return function(*words, **named)

    setattr(place, name, call)


def call_after(place: Any, name: str, action: Callable[..., None]) -> None:
    """Let a function or method call `action` with what it returns, and its arguments, after it has ended."""
    function = getattr(place, name)

    @wraps(function)
    def call(*words: Any, **named: Any) -> Any:
        returned = function(*words, **named)
        action(returned, *words, **named)
        return returned

    setattr(place, name, call)
