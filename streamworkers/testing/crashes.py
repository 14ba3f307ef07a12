"""Crash tests: the same test for each boundary between two steps, at which a worker process is killed."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from streamworkers.errors import BadInputError, UnknownNameError

T = TypeVar("T", bound=Callable[..., object])
Step: TypeAlias = Literal["prepare", "execute", "save", "commit", "acknowledge", "claim", "call", "record"]
ITEM_STEPS: tuple[Step, ...] = ("prepare", "execute", "save", "commit", "acknowledge")
CALL_STEPS: tuple[Step, ...] = ("claim", "call", "record")
_BOUNDARIES = tuple(f"{before}-{after}" for steps in (ITEM_STEPS, CALL_STEPS) for before, after in pairwise(steps))


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """Where a worker of the test's pool is killed with SIGKILL, once; `job` limits it to the work of that job."""

    point: str | None
    job: str | None
    mark: Path

    def environment(self) -> dict[str, str]:
        """Return the variables that arm a process, if `in_processes` is on its path."""
        order = {"point": self.point, "job": self.job, "mark": str(self.mark)}
        return {"SW_TESTING_KILL": json.dumps(order)} if self.point is not None else {}

    @property
    def victim(self) -> str | None:
        """What the worker that was killed was doing: its job, its run, its items; None as long as none was killed."""
        return self.mark.read_text(encoding="utf-8") if self.mark.exists() else None

    def require_happened(self) -> None:
        """Raise AssertionError if no worker was killed: such a test proves nothing."""
        if self.point is not None and self.victim is None:
            before, _, after = self.point.partition("-")
            of_job = f" of job {self.job!r}" if self.job else ""
            raise AssertionError(
                f"no worker was killed between {before} and {after}: the test has ended, and no work{of_job} of a"
                " pool of sw_pool came to that point"
            )


def crash_between(*steps: Step, job: str | None = None) -> Callable[[T], T]:
    """Repeat a test for each boundary between two of these steps; without any, for those of every item.

    In each, one worker of the pools that the test starts with `sw_pool` is killed at the boundary, and the pool goes
    on. The test fails if that did not happen. The steps of an item are prepare, execute, save, commit and acknowledge,
    those of a call to the outside claim, call and record. `job` limits the kill to the work of one job.
    """
    import pytest

    points = find_boundaries(steps or ITEM_STEPS)
    parametrize = pytest.mark.parametrize("sw_crash", [(point, job) for point in points], ids=points, indirect=True)
    uses = pytest.mark.usefixtures("sw_crash")
    return lambda test: parametrize(uses(test))


def find_boundaries(steps: tuple[str, ...]) -> list[str]:
    """Return the boundaries between two of these steps. Raises BadInputError if they have none, or are no steps."""
    for step in steps:
        if step not in (known := (*ITEM_STEPS, *CALL_STEPS)):
            raise UnknownNameError("step", step, known)
    found = [each for each in _BOUNDARIES if {*each.split("-")} <= {*steps}]
    if not found:
        raise BadInputError(
            f"no two of the steps {', '.join(steps)} follow each other, so there is nothing between them"
        )
    return found
