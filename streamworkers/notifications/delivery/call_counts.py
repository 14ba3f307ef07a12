"""What is counted of calls."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


class Counts(Protocol):
    """Where calls are counted: a job's context, or a `CallCounts` of the sender's own."""

    @property
    def tallies(self) -> Counter[tuple[str, ...]]: ...
    @property
    def observations(self) -> list[tuple[tuple[str, ...], float]]: ...


@dataclass(frozen=True, slots=True)
class CallCounts:
    """Counts of a sender's own."""

    tallies: Counter[tuple[str, ...]] = field(default_factory=Counter)
    observations: list[tuple[tuple[str, ...], float]] = field(default_factory=list)
