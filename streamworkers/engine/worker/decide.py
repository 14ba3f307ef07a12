"""From the outcomes of a batch to what happens to its items: a pure function."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from streamworkers.engine.ledger import ItemUpdate
from streamworkers.engine.outcome import Completed, Failed, Outcome, Snoozed
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.worker.retry_policy import retry_delay_seconds

MAX_ERROR_CHARACTERS = 2000
NO_OUTCOME = "the handler returned no outcome for this item"


class Retry(NamedTuple):
    """An entry to run again as `next_entry` after a delay; `error` is None for a snooze, which the ledger ignores."""

    entry: Entry
    delay_seconds: float
    next_entry: Entry
    error: str | None
    stack: str | None = None


@dataclass(frozen=True, slots=True)
class Decisions:
    """What happens to each entry of a batch: it is completed, dead, or runs again.

    Those that are `stopping` end with their run: the first that is still open is dead, the others are cancelled.
    """

    completed: list[tuple[Entry, Completed]] = field(default_factory=list)
    dead: list[tuple[Entry, Failed]] = field(default_factory=list)
    retries: list[Retry] = field(default_factory=list)
    stopping: list[tuple[Entry, Failed]] = field(default_factory=list)

    @property
    def only_complete(self) -> bool:
        """True if every entry is completed."""
        return not (self.dead or self.retries or self.stopping)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that was decided."""
        yield from self.leaving()
        yield from (retry.entry for retry in self.retries)

    def leaving(self) -> Iterator[Entry]:
        """Yield the entries that do not run again."""
        yield from (entry for entry, _ in (*self.completed, *self.dead, *self.stopping))

    def seqs(self) -> list[int]:
        """Return the items that a commit of these decisions may move."""
        again = [retry.entry for retry in self.retries if retry.error is not None]
        return [entry.seq for entry in (*self.leaving(), *again)]

    def completions(self) -> list[ItemUpdate]:
        """Return the updates to `completed`."""
        return [
            ItemUpdate(entry.seq, entry.generation, entry.attempt, "completed", outcome.result)
            for entry, outcome in self.completed
        ]

    def failures(self) -> list[ItemUpdate]:
        """Return the updates to `failed` and `retrying`."""
        dead = [_fail(entry, "failed", outcome.error, outcome.stack) for entry, outcome in self.dead]
        again = [
            _fail(retry.entry, "retrying", retry.error, retry.stack)
            for retry in self.retries
            if retry.error is not None
        ]
        return dead + again

    def stops(self) -> list[ItemUpdate]:
        """Return the updates to `failed` of which the first possible one ends the run."""
        return [_fail(entry, "failed", outcome.error, outcome.stack) for entry, outcome in self.stopping]


def _fail(entry: Entry, status: str, error: str, stack: str | None) -> ItemUpdate:
    short = error[:MAX_ERROR_CHARACTERS]
    return ItemUpdate(entry.seq, entry.generation, entry.attempt, status, error=short, stack=stack)


@dataclass(frozen=True, slots=True)
class RetryRule:
    """How often and when a failed item is retried."""

    max_attempts: int
    base_seconds: float
    cap_seconds: float


def decide(
    entries: Sequence[Entry], outcomes: Mapping[int, Outcome], rule: RetryRule, now: datetime, rng: random.Random
) -> Decisions:
    """Decide what happens to each entry, by its outcome (by seq) and its attempt."""
    decisions = Decisions()
    stop = next((each for each in outcomes.values() if isinstance(each, Failed) and each.stops_run), None)
    for entry in entries:
        outcome = outcomes.get(entry.seq) or Failed(entry.item, NO_OUTCOME)
        match outcome:
            case Completed():
                decisions.completed.append((entry, outcome))
            case _ if stop is not None:
                decisions.stopping.append((entry, stop))
            case Failed() if outcome.permanent or entry.attempt >= rule.max_attempts:
                decisions.dead.append((entry, outcome))
            case Failed():
                delay = retry_delay_seconds(
                    entry.attempt, rng, base_seconds=rule.base_seconds, cap_seconds=rule.cap_seconds
                )
                again = entry._replace(attempt=entry.attempt + 1, isolated=True, reason=outcome.error, left_ms=0)
                decisions.retries.append(Retry(entry, delay, again, outcome.error, outcome.stack))
            case Snoozed():
                delay = max(0.0, (outcome.until - now).total_seconds())
                decisions.retries.append(Retry(entry, delay, entry._replace(left_ms=0), None))
    return decisions
