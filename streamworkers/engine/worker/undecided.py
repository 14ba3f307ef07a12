"""Items that are executed again and again without a decision, because a service seems away each time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.heartbeats import UndecidedItem

# Executions without a decision after which an item runs on its own, and as many on its own with which it fails.
MOST_UNDECIDED = 5
# An outage of a service interrupts one execution of an item. From here on something else is wrong.
_REPORTED_FROM = 2
_MOST_REPORTED = 20
_ERROR_CHARACTERS = 200


@dataclass(slots=True)
class _State:
    """One item: all its executions without a decision, those on its own, and the newest error.

    `losses_alone` are those on its own in which the connection was lost.
    """

    entry: Entry
    queue: str
    times: int = 0
    times_alone: int = 0
    losses_alone: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class UndecidedItems:
    """The undecided items among those that a worker holds. Nothing is kept of items that are decided at once."""

    _states: dict[str, _State] = field(default_factory=dict)

    def note(self, queue: str, batch: Sequence[Entry], error: str, *, is_lost: bool) -> None:
        """Count an execution of a batch that ended without a decision, and perhaps with the connection lost."""
        for entry in batch:
            state = self._states.setdefault(entry.entry_id, _State(entry, queue))
            state.times += 1
            state.times_alone += len(batch) == 1
            state.losses_alone += is_lost and len(batch) == 1
            state.error = error[:_ERROR_CHARACTERS]

    def isolate(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return the entries, isolated where an item was undecided too often in a batch with others."""
        if not self._states:
            return entries
        return [entry._replace(isolated=True) if self._is_alone(entry) else entry for entry in entries]

    def find_reason(self, batch: Sequence[Entry]) -> str | None:
        """Return why the single item of a batch has to fail: it was undecided too often on its own; None if not."""
        state = self._find_single(batch)
        return _describe(state) if state and state.times_alone >= MOST_UNDECIDED else None

    def find_reason_of_losses(self, batch: Sequence[Entry]) -> str | None:
        """Do it only for an item that has lost the connection so often."""
        state = self._find_single(batch)
        return _describe(state) if state and state.losses_alone >= MOST_UNDECIDED else None

    def decided(self, entry_ids: Iterable[str]) -> None:
        """Forget items that were decided."""
        if self._states:
            for entry_id in entry_ids:
                self._states.pop(entry_id, None)

    def clear(self) -> None:
        """Forget all items: the worker holds none of them any more."""
        self._states.clear()

    def report(self) -> list[UndecidedItem]:
        """Return the items to report: those executed more than once, the most often executed first."""
        found = sorted(self._states.values(), key=lambda state: -state.times)
        return [
            UndecidedItem(state.queue, entry.job, entry.run_id, entry.seq, entry.symbol, state.times, state.error)
            for state in found[:_MOST_REPORTED]
            if state.times >= _REPORTED_FROM and (entry := state.entry)
        ]

    def _find_single(self, batch: Sequence[Entry]) -> _State | None:
        return self._states.get(batch[0].entry_id) if len(batch) == 1 else None

    def _is_alone(self, entry: Entry) -> bool:
        state = self._states.get(entry.entry_id)
        return state is not None and state.times >= MOST_UNDECIDED


def _describe(state: _State) -> str:
    return f"executed {state.times} times without a decision: {state.error}"
