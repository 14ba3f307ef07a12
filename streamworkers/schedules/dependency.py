"""Whether a tick that waits for another schedule's run may start: a pure function."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

OPEN_RUN_STATES = ("PENDING", "RUNNING")


@dataclass(frozen=True, slots=True)
class Awaited:
    """What is known of the other schedule's tick of the same session, and of its run where it started one."""

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
        """The share of the run's items that are completed."""
        return self.completed / self.items if self.items else 0.0

    def described(self) -> str:
        """How it stands, in words."""
        if self.tick_state is None:
            return f"{self.schedule} has had no tick in this session"
        if self.run_id is None:
            because = f": {self.tick_reason}" if self.tick_reason else ""
            return f"the tick of {self.schedule} is {self.tick_state}{because}"
        return f"run {self.run_id} of {self.schedule} is {self.run_status} with a coverage of {self.coverage:.4f}"

    def as_detail(self) -> dict[str, Any]:
        """For the row of the tick that waited."""
        return {
            "after": self.schedule,
            "run_id": self.run_id,
            "coverage": round(self.coverage, 6),
            "missing": list(self.missing),
        }


class Verdict(NamedTuple):
    """What to do with the tick that waits, and why."""

    action: Literal["start", "wait", "skip"]
    reason: str | None


def judge(
    awaited: Awaited, min_coverage: float, now: datetime, deadline: datetime, at_deadline: Literal["start", "skip"]
) -> Verdict:
    """Start once the other run has ended with enough coverage; at the deadline do as the schedule says."""
    ended = awaited.run_status is not None and awaited.run_status not in OPEN_RUN_STATES
    if ended and awaited.coverage >= min_coverage:
        return Verdict("start", None if awaited.coverage == 1.0 else awaited.described())
    if now < deadline:
        return Verdict("wait", awaited.described())
    words = f"{awaited.described()}, and the wait for a coverage of {min_coverage:g} is over"
    return Verdict(at_deadline, words)
