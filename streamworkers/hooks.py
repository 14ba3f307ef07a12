"""Hooks: what an installed package does when workers execute items. They observe, and never change an outcome.

A hook is a subclass of `Hooks` behind an entry point of the group `streamworkers.hooks`. docs/guides/hooks.md says when
each method is called, and what happens to one that raises or hangs.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from importlib.metadata import EntryPoint
from typing import Any, Literal, NamedTuple, TypeAlias

from streamworkers.errors import BadInputError, UnknownNameError, UsageError
from streamworkers.installed import entry_points
from streamworkers.names import find_name_error

ENTRY_POINT_GROUP = "streamworkers.hooks"
HOOK_EVENTS = ("on_start", "on_success", "on_failure", "on_dead", "on_end")


class HookItem(NamedTuple):
    """An item of a call. `key` is its symbol, part or id.

    After a failed attempt `error` says why in one line, `stack` is where, if the handler raised, and `retry_seconds` in
    how many seconds the item runs again.
    """

    seq: int
    key: str
    timeframe: str | None
    attempt: int
    error: str | None = None
    stack: str | None = None
    retry_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HookCall:
    """A call of a handler with a batch of one run's items.

    `number` identifies it in its worker, whose name is `consumer`; a `number` of 0 says that no handler was called: the
    attempt ended with another worker, or was not made. `started_at` is None then. `seconds` is how long `execute` took,
    once it has returned. `parameters` are the run's, as JSON has them; `traceparent` is that of W3C Trace Context with
    which the run was submitted.
    """

    number: int
    run_id: int
    job: str
    queue: str
    timeframe: str | None
    as_of: datetime | None
    parameters: Mapping[str, Any]
    traceparent: str | None
    consumer: str
    items: tuple[HookItem, ...]
    started_at: datetime | None = None
    seconds: float | None = None


class HookPhase(NamedTuple):
    """`execute` or one `save` of a call: when it began, how long it took, and what it raised, in one line."""

    name: Literal["execute", "save"]
    started_at: datetime
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CallEnd:
    """How a call ended, in items: `discarded` are those that another worker, or the end of their run, has closed.

    The outcome `split` says that it raised and each of its items is executed in a call of its own; `undecided` that
    Redis or PostgreSQL was away, and what is not counted is executed again.
    """

    outcome: Literal["decided", "split", "undecided"]
    phases: tuple[HookPhase, ...]
    completed: int = 0
    retried: int = 0
    dead: int = 0
    snoozed: int = 0
    discarded: int = 0


class Hooks:
    """Subclass it with the methods that are wanted. Each worker process makes one instance, after it was forked.

    All methods are called in the worker's main thread, one after another. What they raise is logged and counted.
    """

    def on_start(self, call: HookCall) -> None:
        """A handler is about to be called. Context variables that are set here are set in `execute` and `save`."""

    def on_success(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """These items are completed, by a transaction of this worker that was committed."""

    def on_failure(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """An attempt of these items has failed and is recorded; they run again."""

    def on_dead(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """These items have failed for good, by a transaction of this worker that was committed."""

    def on_end(self, call: HookCall, end: CallEnd) -> None:
        """The call has ended: once for each `on_start`, unless the process was killed in between."""

    def close(self) -> None:
        """The worker ends in order."""


HookClass: TypeAlias = type[Hooks]
# Hooks of our own, each switched on by a setting: its extra, module and class.
_BUILT_IN = {
    "otel": ("otel", "streamworkers.otel", "OpenTelemetryHook"),
    "sentry": ("sentry", "streamworkers.sentry", "SentryHook"),
}


def load_hook_classes(built_in: Sequence[str] = ()) -> dict[str, HookClass]:
    """Load the hooks of every installed package, by the names of their entry points, behind those that are built in.

    Raises BadInputError naming the entry point that does not load, or is no hook, and UsageError if what a hook that is
    built in needs is not installed.
    """
    classes = {name: _load_built_in(name) for name in built_in}
    points: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP)):
        text = f"hook {point.name!r} ({point.value})"
        if problem := find_name_error("hook", point.name):
            raise BadInputError(f"{problem}: {point.value}")
        if point.name in _BUILT_IN:
            raise BadInputError(f"hook {point.name!r} ({point.value}) has the name of a hook that is built in")
        if point.name in classes:
            raise BadInputError(f"two hooks are named {point.name!r}: {points[point.name].value} and {point.value}")
        try:
            loaded = point.load()
        except Exception as error:
            raise BadInputError(f"{text} does not load: {type(error).__name__}: {error}") from error
        if not (isinstance(loaded, type) and issubclass(loaded, Hooks)):
            raise BadInputError(f"{text} is not a subclass of streamworkers.hooks.Hooks")
        _require_sound(loaded, text)
        points[point.name], classes[point.name] = point, loaded
    return classes


def _load_built_in(name: str) -> HookClass:
    extra, module, class_name = _BUILT_IN[name]
    try:
        loaded: HookClass = getattr(import_module(module), class_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"hook {name!r} needs {error.name}, which is not installed: pip install 'streamworkers[{extra}]'"
        ) from error
    return loaded


def find_events(hook_class: HookClass) -> frozenset[str]:
    """Return the names of the methods that a hook has of its own, `close` not among them."""
    return frozenset(name for name in HOOK_EVENTS if getattr(hook_class, name) is not getattr(Hooks, name))


def _require_sound(hook_class: HookClass, text: str) -> None:
    """Raise BadInputError for a method that would never be called, or never run."""
    for name in dir(hook_class):
        if name.startswith("on_") and name not in HOOK_EVENTS:
            raise BadInputError(f"{text}: {UnknownNameError('method', name, HOOK_EVENTS)}")
    for name in (*HOOK_EVENTS, "close"):
        if inspect.iscoroutinefunction(getattr(hook_class, name)):
            raise BadInputError(f"{text}: {name} is async, and workers call it as a plain method")
