"""Calls the hooks of a worker process, each within a bound. None of them can change an outcome or end the process.

A hook that takes too long is interrupted by a signal in the worker's main thread, and rests for a while. What cannot be
interrupted, because it does not return to Python, ends with the process, which the supervisor kills: that costs no item
an attempt, because none is being executed.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from streamworkers.engine.worker.process_state import read_process_state, restore_process_state
from streamworkers.faults import describe, describe_stack
from streamworkers.hooks import HookClass, Hooks, find_events
from streamworkers.logger import get_logger

log = get_logger()
REST_SECONDS = 60.0
# For the first `__init__`, before the worker takes work: it may import much on a busy machine.
INIT_SECONDS = 30.0
# A hook that catches the interruption gets another one.
_AGAIN_SECONDS = 1.0
# How much longer the supervisor waits than this process.
KILL_SECONDS = 5.0
_LOG_SECONDS = 60.0
_MOST_LOGGED = 64


class HookReporter(Protocol):
    """What a worker reports of its hooks."""

    def hook_started(self, hook: str, event: str, seconds: float) -> None:
        """No handler runs now, but this hook; kill the process if nothing else is reported within `seconds`."""

    def hooks_ended(self) -> None:
        """No hook runs any more."""

    def hook_failed(self, hook: str, event: str) -> None:
        """A hook has raised, or was interrupted."""

    def hook_skipped(self, hook: str, event: str) -> None:
        """A hook was not called, because it rests."""


class HookTimeoutError(BaseException):
    """Raised in a hook that takes too long; no error, so that what catches all errors does not catch it."""


@dataclass(slots=True)
class _Hook:
    """A hook of this process: `instance` is None until its class could be called."""

    name: str
    make: HookClass
    events: frozenset[str]
    instance: Hooks | None = None
    rests_until: float = 0.0


@dataclass(slots=True)
class HookRunner:
    """The hooks of one worker process, by the names of their entry points.

    `seconds` is the bound of each call. `ending_children` ends the processes that hooks leave behind.
    """

    classes: Mapping[str, HookClass]
    reporter: HookReporter
    seconds: float
    ending_children: Callable[[], AbstractContextManager[None]] = nullcontext
    _hooks: list[_Hook] = field(default_factory=list)
    _logged: dict[tuple[str, str, str], float] = field(default_factory=dict)
    _failures: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def events(self) -> frozenset[str]:
        """The names of the methods that any hook has."""
        return frozenset().union(*(find_events(each) for each in self.classes.values()))

    def open(self) -> None:
        """Make the hooks, in the process that is to call them."""
        self._hooks = [_Hook(name, each, find_events(each)) for name, each in self.classes.items()]
        with self.guarding():
            for hook in self._hooks:
                self._make(hook, max(self.seconds, INIT_SECONDS))

    def call(self, event: str, *words: Any) -> None:
        """Call a method of every hook that has it."""
        for hook in self._hooks:
            if event in hook.events and (hook.instance is not None or self._make(hook, self.seconds)):
                self._call(hook, event, self.seconds, getattr(hook.instance, event), *words)

    def close(self) -> None:
        """Let the hooks end, before their process does."""
        with self.guarding():
            for hook in self._hooks:
                if hook.instance is not None and type(hook.instance).close is not Hooks.close:
                    hook.rests_until = 0.0  # the last call
                    self._call(hook, "close", self.seconds, hook.instance.close)
        self._hooks = []

    @contextmanager
    def guarding(self, state: tuple[Any, ...] | None = None) -> Iterator[None]:
        """Call hooks within: what they change in the process, whose state may be given, is undone at the end."""
        if not self._hooks:
            yield
            return
        state = state or read_process_state()
        with self.ending_children():
            yield
            restore_process_state(state)
        self.reporter.hooks_ended()

    def _make(self, hook: _Hook, seconds: float) -> bool:
        """Make the instance of a hook; False if it cannot be made now."""

        def make() -> None:
            hook.instance = hook.make()

        self._call(hook, "init", seconds, make)
        if hook.instance is None:
            hook.rests_until = max(hook.rests_until, time.monotonic() + REST_SECONDS)
        return hook.instance is not None

    def _call(self, hook: _Hook, event: str, seconds: float, action: Callable[..., object], *words: Any) -> None:
        if time.monotonic() < hook.rests_until:
            self.reporter.hook_skipped(hook.name, event)
            return
        self.reporter.hook_started(hook.name, event, seconds + KILL_SECONDS)
        pid = os.getpid()
        try:
            _call_within(seconds, action, *words)
        except HookTimeoutError:
            hook.rests_until = time.monotonic() + REST_SECONDS
            self._fail(hook, event, f"did not return within {seconds:g} s", rests_seconds=REST_SECONDS)
        except BaseException as error:  # noqa: BLE001  # a hook never changes what happens to a batch
            if os.getpid() == pid:
                self._fail(hook, event, describe(error), stack=describe_stack(error))
        if os.getpid() != pid:
            os._exit(0)  # a fork that the hook let go would go on as a second worker

    def _fail(self, hook: _Hook, event: str, error: str, **fields: object) -> None:
        """Count a failure, and log it unless the same was logged a moment ago."""
        self.reporter.hook_failed(hook.name, event)
        now, key = time.monotonic(), (hook.name, event, error)
        self._failures[hook.name, event] += 1
        if now < self._logged.get(key, 0.0):
            return
        if len(self._logged) >= _MOST_LOGGED:
            self._logged.clear()
        self._logged[key] = now + _LOG_SECONDS
        count = self._failures.pop((hook.name, event))
        log.error("hook_failed", hook=hook.name, hook_event=event, error=error, count=count, **fields)


def _call_within(seconds: float, action: Callable[..., object], *words: Any) -> None:
    """Call a function. Raises HookTimeoutError in it, and again each second, if it takes longer than `seconds`."""
    is_inside = True

    def interrupt(*_: object) -> None:
        if is_inside:
            raise HookTimeoutError

    handler = signal.signal(signal.SIGALRM, interrupt)
    began = time.monotonic()
    delay, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        try:
            action(*words)
        finally:
            is_inside = False
    finally:
        is_inside = False
        left = max(delay - (time.monotonic() - began), 0.001) if delay else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left, interval)
