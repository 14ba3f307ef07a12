"""Reports the calls of one consumer to its hooks: each from its start to its end, and the outcomes of its items.

What a commit has done is noted where it is done, and reported when its entries have left the queue: a hook that takes
long, or kills the process, then holds up nothing that is decided.
"""

import decimal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context, copy_context
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.worker.call_log import logging_call
from streamworkers.engine.worker.decide import Decisions
from streamworkers.engine.worker.hook_runner import HookRunner
from streamworkers.engine.worker.session import find_process_state
from streamworkers.faults import describe
from streamworkers.hooks import CallEnd, HookCall, HookItem, HookPhase

T = TypeVar("T")


@dataclass(slots=True)
class _OpenCall:
    """A call that has begun and not ended for its hooks, and what has happened in it so far."""

    call: HookCall
    context: Context
    phases: list[HookPhase] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def end(self, outcome: Literal["decided", "split", "undecided"]) -> CallEnd:
        discarded = len(self.call.items) - sum(self.counts.values()) if outcome == "decided" else 0
        return CallEnd(outcome, tuple(self.phases), **self.counts, discarded=discarded)


@dataclass(slots=True)
class CallHooks:
    """Follows the calls of one consumer for its hooks; does nothing where there are none.

    The `current` call is the one whose handler runs, or whose outcomes are being committed.
    """

    runner: HookRunner | None = None
    consumer: str = ""
    _events: frozenset[str] = frozenset()
    _number: int = 0
    _current: _OpenCall | None = None
    _open: list[_OpenCall] = field(default_factory=list)
    _by_entry: dict[str, _OpenCall] = field(default_factory=dict)
    _noted: list[tuple[str, _OpenCall | HookCall, tuple[HookItem, ...]]] = field(default_factory=list)
    _parameters: tuple[int, Mapping[str, Any]] = field(default=(0, {}))

    def __post_init__(self) -> None:
        self._events = self.runner.events if self.runner is not None else frozenset()

    @property
    def context(self) -> Context | None:
        """The context variables of the current call; None without one."""
        return self._current.context if self._current is not None else None

    def start(self, connection: Connection, run: Run, batch: Sequence[Entry]) -> None:
        """A handler is about to be called with these entries."""
        if not self._events or self.runner is None:
            return
        self._number += 1
        call = self._make_call(run, tuple(map(_item, batch)), self._number, datetime.now(UTC))
        self._current = _OpenCall(call, _new_context())
        self._open.append(self._current)
        self._by_entry.update(dict.fromkeys((entry.entry_id for entry in batch), self._current))
        if "on_start" in self._events:
            with self.runner.guarding(find_process_state(connection)):
                self._report(self._current.context, "on_start", call)

    @contextmanager
    def phase(self, name: Literal["execute", "save"]) -> Iterator[None]:
        """Note how long the user code within takes, and what it raises."""
        if (current := self._current) is None:
            yield
            return
        started_at, began, error = datetime.now(UTC), time.monotonic(), None
        try:
            yield
        except BaseException as raised:
            error = describe(raised)
            raise
        finally:
            seconds = time.monotonic() - began
            current.phases.append(HookPhase(name, started_at, seconds, error))
            if name == "execute":
                current.call = replace(current.call, seconds=seconds)

    def run_in_call(self, action: Callable[[], T]) -> T:
        """Return what a function of this process returns, called with the context variables of the current call."""
        return action() if self.context is None else self.context.copy().run(action)

    def split(self, connection: Connection) -> None:
        """The current call has raised, and each of its items is executed in a call of its own."""
        if (current := self._current) is not None:
            self._current = None
            self._end(connection, [current], "split")

    def leave(self) -> None:
        """All that the current call needs of its job is done."""
        self._current = None

    def note_commit(self, run: Run, decisions: Decisions, moved: set[int]) -> None:
        """Note what a commit has done, to the items of one call."""
        if not self._events:
            return
        completed = [entry for entry, _ in decisions.completed if entry.seq in moved]
        failed = [
            _item(retry.entry)._replace(error=retry.error, stack=retry.stack, retry_seconds=retry.delay_seconds)
            for retry in decisions.retries
            if retry.error is not None and retry.entry.seq in moved
        ]
        dead = [
            _item(entry)._replace(error=outcome.error, stack=outcome.stack)
            for entry, outcome in (*decisions.dead, *decisions.stopping)
            if entry.seq in moved
        ]
        entry = next(decisions.entries(), None)
        call = self._by_entry.get(entry.entry_id) if entry is not None else None
        succeeded = [_item(entry) for entry in completed] if "on_success" in self._events else []
        for event, items in (("on_success", succeeded), ("on_failure", failed), ("on_dead", dead)):
            if items:
                self._note(event, call or self._make_call(run, tuple(items)), items)
        if call is not None:
            counts = {"completed": len(completed), "retried": len(failed), "dead": len(dead)}
            counts["snoozed"] = sum(retry.error is None for retry in decisions.retries)
            call.counts = {name: call.counts.get(name, 0) + count for name, count in counts.items()}

    def note_crash(self, run: Run, entries: Sequence[Entry], recorded: set[int]) -> None:
        """Note attempts that ended with the death of another worker, of those that were recorded now."""
        if self._events:
            items = [
                _item(entry)._replace(attempt=entry.attempt - 1, error=entry.reason)
                for entry in entries
                if entry.seq in recorded
            ]
            if items:
                self._note("on_failure", self._make_call(run, tuple(items)), items)

    def _note(self, event: str, call: _OpenCall | HookCall, items: Sequence[HookItem]) -> None:
        if event in self._events:
            self._noted.append((event, call, tuple(items)))

    def flush(self, connection: Connection) -> None:
        """Report what was noted, and that all calls but the current one have ended."""
        self._end(connection, [call for call in self._open if call is not self._current], "decided")

    def abandon(self, connection: Connection) -> None:
        """Report what was noted, and that what is left will be executed again."""
        decided = [call for call in self._open if call.counts and call is not self._current]
        self._current = None
        self._end(connection, decided, "decided")
        self._end(connection, list(self._open), "undecided")

    def _end(
        self, connection: Connection, calls: Sequence[_OpenCall], outcome: Literal["decided", "split", "undecided"]
    ) -> None:
        noted, self._noted = self._noted, []
        for each in calls:
            self._open.remove(each)
        if not self._open:
            self._by_entry.clear()
        if self.runner is None or not (noted or (calls and "on_end" in self._events)):
            return
        with self.runner.guarding(find_process_state(connection)):
            for event, call, items in noted:
                if isinstance(call, HookCall):
                    self._report(_new_context(), event, call, items)
                else:
                    self._report(call.context, event, call.call, items)
            if "on_end" in self._events:
                for each in calls:
                    self._report(each.context, "on_end", each.call, each.end(outcome))

    def _report(self, context: Context, event: str, call: HookCall, *words: Any) -> None:
        """Call the hooks; what they log says which run it is about."""
        assert self.runner is not None
        with logging_call(call.run_id, call.job, ()):
            context.run(self.runner.call, event, call, *words)

    def _make_call(
        self, run: Run, items: tuple[HookItem, ...], number: int = 0, started_at: datetime | None = None
    ) -> HookCall:
        if self._parameters[0] != run.id:
            # A hook that changes them changes nothing for the handler, or for other hooks.
            self._parameters = run.id, deepcopy(run.parameters)
        words = (run.id, run.job, run.queue, run.timeframe, run.as_of, self._parameters[1], run.traceparent)
        return HookCall(number, *words, self.consumer, items, started_at)


def _item(entry: Entry) -> HookItem:
    return HookItem(entry.seq, entry.symbol, entry.timeframe or None, entry.attempt)


def _new_context() -> Context:
    """Return a copy of the current context, with a decimal context of its own: a copy shares the object."""
    context = copy_context()
    context.run(decimal.setcontext, decimal.getcontext().copy())
    return context
