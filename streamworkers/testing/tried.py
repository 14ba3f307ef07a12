"""What a job did with its items under the harness."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from streamworkers.engine.job import RunRequest
from streamworkers.engine.outcome import Completed, Event, Failed, Snoozed
from streamworkers.errors import UnknownNameError

V = TypeVar("V")
TriedState: TypeAlias = Literal["completed", "retrying", "dead", "snoozed", "cancelled"]
ItemKey: TypeAlias = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class TriedItem(Generic[V]):
    """An item after its newest attempt: what the handler returned for it, or what it raised, and what the pool does.

    `outcome` is None for an item that was never executed, as its run was stopped before. `exception` is what `execute`
    or `save` has raised about this item alone, with its traceback.
    """

    key: str
    timeframe: str | None
    state: TriedState
    attempt: int
    outcome: Completed[V] | Failed | Snoozed | None = None
    exception: BaseException | None = None

    @property
    def error(self) -> str | None:
        """The text that the ledger would keep; None for an item that did not fail."""
        return self.outcome.error if isinstance(self.outcome, Failed) else None

    @property
    def until(self) -> datetime | None:
        """When a snoozed item runs again."""
        return self.outcome.until if isinstance(self.outcome, Snoozed) else None

    @property
    def value(self) -> V:
        """What `save` gets of the item. Raises what the handler raised, or AssertionError if it is not completed."""
        return self._completed().value

    @property
    def result(self) -> dict[str, Any] | None:
        """What the ledger gets of the item. Raises as `value` does."""
        return self._completed().result

    def _completed(self) -> Completed[V]:
        if isinstance(self.outcome, Completed) and self.state == "completed":
            return self.outcome
        if self.exception is not None:
            raise self.exception
        reason = self.error or (f"until {self.until}" if self.until else "its run was stopped")
        raise AssertionError(f"{self.key} is {self.state} after attempt {self.attempt}: {reason}")


@dataclass(frozen=True, slots=True)
class HarnessRun(Generic[V]):
    """What a job did with the items of one run: `run["AAPL"]`, or `run["AAPL", "day"]` if it has several timeframes.

    `request` is what `prepare` made of it. `calls` has the keys of each call of `execute`, in order. `events` are those
    that `save` returned, which only a run with real services calls.
    """

    request: RunRequest
    items: Sequence[TriedItem[V]]
    calls: Sequence[Sequence[str]] = ()
    tallies: Counter[tuple[str, ...]] = field(default_factory=Counter)
    observations: Sequence[tuple[tuple[str, ...], float]] = ()
    events: Sequence[Event] = ()

    def __getitem__(self, key: ItemKey) -> TriedItem[V]:
        found = self._by_key()
        if key not in found:
            raise UnknownNameError("item of the run", str(key), [str(each) for each in found])
        return found[key]

    def __iter__(self) -> Iterator[TriedItem[V]]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def values(self) -> dict[ItemKey, V]:
        """What `save` gets, of the completed items."""
        return {key: item.value for key, item in self.items_by_state("completed").items()}

    @property
    def results(self) -> dict[ItemKey, dict[str, Any] | None]:
        """What the ledger gets, of the completed items."""
        return {key: item.result for key, item in self.items_by_state("completed").items()}

    @property
    def errors(self) -> dict[ItemKey, str]:
        """The errors of the items that failed: those that are dead, and those that the pool would retry."""
        return {key: item.error for key, item in self._by_key().items() if item.error is not None}

    @property
    def exceptions(self) -> dict[ItemKey, BaseException]:
        """What the handler raised about items, as it was raised."""
        return {key: item.exception for key, item in self._by_key().items() if item.exception is not None}

    @property
    def retries(self) -> dict[ItemKey, str]:
        """The errors of the items that the pool would execute again."""
        return {key: item.error or "" for key, item in self.items_by_state("retrying").items()}

    @property
    def dead(self) -> dict[ItemKey, str]:
        """The errors of the items that the pool would not execute again."""
        return {key: item.error or "" for key, item in self.items_by_state("dead").items()}

    @property
    def snoozes(self) -> dict[ItemKey, datetime]:
        """When the snoozed items run again."""
        return {key: item.until for key, item in self._by_key().items() if item.until is not None}

    def items_by_state(self, state: TriedState) -> dict[ItemKey, TriedItem[V]]:
        """Return the items in a state."""
        return {key: item for key, item in self._by_key().items() if item.state == state}

    def raise_errors(self) -> None:
        """Raise the first exception that the handler raised, or AssertionError for an item that failed otherwise."""
        for item in self.items:
            if item.error is not None:
                _ = item.value

    def _by_key(self) -> dict[ItemKey, TriedItem[V]]:
        if len(self.request.timeframes) > 1:
            return {(item.key, item.timeframe or ""): item for item in self.items}
        return {item.key: item for item in self.items}
