"""Decides whether a tick that waits for another schedule's run may start. Pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

OPEN_RUN_STATES = ("PENDING", "RUNNING")


@dataclass(frozen=True, slots=True)
class Awaited:
    """The other schedule's tick of the same session, and the run that it started, if any."""

    schedule: str
    tick_state: str | None = None
    tick_reason: str | None = None
    run_id: int | None = None
    run_status: str | None = None
    items: int = 0
    completed: int = 0
    missing: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """The share of the run's items that are completed; of a run that had nothing to do, all of them."""
        return self.completed / self.items if self.items else float(self.run_status == "COMPLETED")

    def describe(self) -> str:
        """The state of the tick or of its run, in words."""
        if self.tick_state is None:
            return f"{self.schedule} has had no tick in this session"
        if self.run_id is None:
            because = f": {self.tick_reason}" if self.tick_reason else ""
            return f"the tick of {self.schedule} is {self.tick_state}{because}"
        return f"run {self.run_id} of {self.schedule} is {self.run_status} with a coverage of {self.coverage:.4f}"

    def to_detail(self) -> dict[str, Any]:
        """The column `detail` of the tick that waited."""
        return {
            "after": self.schedule,
            "run_id": self.run_id,
            "coverage": round(self.coverage, 6),
            "missing": list(self.missing),
        }


class DependencyDecision(NamedTuple):
    """What to do with the waiting tick, and why."""

    action: Literal["start", "wait", "skip"]
    reason: str | None


def decide_dependency(
    awaited: Awaited, min_coverage: float, now: datetime, deadline: datetime, at_deadline: Literal["start", "skip"]
) -> DependencyDecision:
    """Start once the other run has ended with enough coverage; at the deadline do `at_deadline`."""
    ended = awaited.run_status is not None and awaited.run_status not in OPEN_RUN_STATES
    if ended and awaited.coverage >= min_coverage:
        return DependencyDecision("start", None if awaited.coverage == 1.0 else awaited.describe())
    if now < deadline:
        return DependencyDecision("wait", awaited.describe())
    words = f"{awaited.describe()}, and the wait for a coverage of {min_coverage:g} is over"
    return DependencyDecision(at_deadline, words)
