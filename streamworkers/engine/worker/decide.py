"""From the outcomes of a batch to what shall become of its items: a pure function."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from streamworkers.engine.ledger.runs import ItemUpdate
from streamworkers.engine.outcome import Completed, Failed, Outcome, Snoozed
from streamworkers.engine.redis.entry import Entry, Item
from streamworkers.engine.worker.retry_policy import retry_delay_seconds

MAX_ERROR_CHARACTERS = 2000
NO_OUTCOME = "the handler returned no outcome for this item"


class Task(NamedTuple):
    """A delivered entry that is ours: where it is in Redis and what it says."""

    entry_id: str
    entry: Entry

    @property
    def item(self) -> Item:
        """The item as its handler sees it."""
        entry = self.entry
        return Item(entry.run_id, entry.seq, entry.symbol, entry.timeframe or None, entry.attempt)


@dataclass(frozen=True, slots=True)
class Retry:
    """A task to run again after a delay, as this entry; `error` is None for a snooze, which the ledger ignores."""

    task: Task
    delay_seconds: float
    entry: Entry
    error: str | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """The fate of every task of a batch: completed, dead, or to run again."""

    completed: list[tuple[Task, Completed]] = field(default_factory=list)
    dead: list[tuple[Task, str]] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)

    def completions(self) -> list[ItemUpdate]:
        """Rows to close as completed."""
        return [_closing(task, "completed", result=outcome.result) for task, outcome in self.completed]

    def failures(self) -> list[ItemUpdate]:
        """Rows to move to failed or retrying."""
        dead = [_closing(task, "failed", error=error) for task, error in self.dead]
        again = [
            _closing(retry.task, "retrying", error=retry.error) for retry in self.retries if retry.error is not None
        ]
        return dead + again


def _closing(task: Task, status: str, result: dict[str, Any] | None = None, error: str | None = None) -> ItemUpdate:
    entry = task.entry
    return ItemUpdate(entry.seq, entry.generation, entry.attempt, status, result, error)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often and when a failed item is tried again."""

    max_attempts: int
    base_seconds: float
    cap_seconds: float


def decide(
    tasks: Sequence[Task], outcomes: Mapping[int, Outcome], rule: RetryRule, now: datetime, rng: random.Random
) -> Decisions:
    """What becomes of each task, by its outcome (by seq) and its attempt."""
    decisions = Decisions()
    for task in tasks:
        entry = task.entry
        outcome = outcomes.get(entry.seq) or Failed(task.item, NO_OUTCOME)
        match outcome:
            case Completed():
                decisions.completed.append((task, outcome))
            case Failed() if outcome.permanent or entry.attempt >= rule.max_attempts:
                decisions.dead.append((task, outcome.error[:MAX_ERROR_CHARACTERS]))
            case Failed():
                delay = retry_delay_seconds(
                    entry.attempt, rng, base_seconds=rule.base_seconds, cap_seconds=rule.cap_seconds
                )
                again = entry._replace(attempt=entry.attempt + 1, isolated=True, reason=outcome.error, left_ms=0)
                decisions.retries.append(Retry(task, delay, again, outcome.error[:MAX_ERROR_CHARACTERS]))
            case Snoozed():
                delay = max(0.0, (outcome.until - now).total_seconds())
                decisions.retries.append(Retry(task, delay, entry._replace(left_ms=0), None))
    return decisions
