"""Whether a tick that waits for another schedule's run may start."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.engine import ledger
from streamworkers.schedules.dependency import OPEN_RUN_STATES, Awaited, DependencyDecision, decide_dependency

DEADLINE = datetime(2026, 1, 2, 18, tzinfo=UTC)
BEFORE = DEADLINE - timedelta(microseconds=1)
ENDED = ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED")

NO_TICK = Awaited("bars")
MISSED = Awaited("bars", "missed", "301 s late")
WITHOUT_REASON = Awaited("bars", "waiting")


def run(status: str, completed: int, items: int = 200) -> Awaited:
    return Awaited("bars", "started", None, 42, status, items, completed)


def test_the_states_of_an_open_run_are_those_of_the_ledger() -> None:
    assert set(OPEN_RUN_STATES) == set(ledger.OPEN_RUN_STATES)


@pytest.mark.parametrize(
    ("awaited", "min_coverage", "reason"),
    [
        (run("COMPLETED", 200), 1.0, None),
        (run("COMPLETED", 200), 0.0, None),
        (run("COMPLETED_WITH_ERRORS", 199), 0.995, "run 42 of bars is COMPLETED_WITH_ERRORS with a coverage of 0.9950"),
        (run("CANCELLED", 100), 0.5, "run 42 of bars is CANCELLED with a coverage of 0.5000"),
        (run("FAILED", 0), 0.0, "run 42 of bars is FAILED with a coverage of 0.0000"),
        (run("COMPLETED", 0, items=0), 1.0, None),
        (run("CANCELLED", 0, items=0), 0.0, "run 42 of bars is CANCELLED with a coverage of 0.0000"),
    ],
)
def test_a_run_that_ended_with_enough_coverage_starts_the_other_and_says_what_is_missing(
    awaited: Awaited, min_coverage: float, reason: str | None
) -> None:
    for now in (BEFORE, DEADLINE, DEADLINE + timedelta(days=1)):
        assert decide_dependency(awaited, min_coverage, now, DEADLINE, "skip") == DependencyDecision("start", reason)


@pytest.mark.parametrize(
    ("awaited", "min_coverage", "words"),
    [
        (NO_TICK, 0.0, "bars has had no tick in this session"),
        (MISSED, 0.0, "the tick of bars is missed: 301 s late"),
        (WITHOUT_REASON, 0.0, "the tick of bars is waiting"),
        (run("PENDING", 0), 0.0, "run 42 of bars is PENDING with a coverage of 0.0000"),
        (run("RUNNING", 200), 0.5, "run 42 of bars is RUNNING with a coverage of 1.0000"),
        (run("COMPLETED_WITH_ERRORS", 199), 1.0, "run 42 of bars is COMPLETED_WITH_ERRORS with a coverage of 0.9950"),
        (run("FAILED", 0), 0.9, "run 42 of bars is FAILED with a coverage of 0.0000"),
        (run("FAILED", 0, items=0), 0.1, "run 42 of bars is FAILED with a coverage of 0.0000"),
    ],
)
def test_anything_else_waits_until_the_deadline_and_then_does_as_the_schedule_says(
    awaited: Awaited, min_coverage: float, words: str
) -> None:
    assert decide_dependency(awaited, min_coverage, BEFORE, DEADLINE, "start") == DependencyDecision("wait", words)
    over = f"{words}, and the wait for a coverage of {min_coverage:g} is over"
    at_deadlines: tuple[Literal["start", "skip"], ...] = ("start", "skip")
    for at_deadline in at_deadlines:
        assert decide_dependency(awaited, min_coverage, DEADLINE, DEADLINE, at_deadline) == DependencyDecision(
            at_deadline, over
        )


def test_the_coverage_asked_for_is_said_without_needless_digits() -> None:
    reason = decide_dependency(NO_TICK, 0.95, DEADLINE, DEADLINE, "skip").reason
    assert reason == "bars has had no tick in this session, and the wait for a coverage of 0.95 is over"


def test_a_detail_names_the_run_its_coverage_and_what_is_missing() -> None:
    awaited = Awaited("bars", "started", None, 42, "COMPLETED_WITH_ERRORS", 3, 2, ("FB",))
    assert awaited.to_detail() == {"after": "bars", "run_id": 42, "coverage": 0.666667, "missing": ["FB"]}
    assert NO_TICK.to_detail() == {"after": "bars", "run_id": None, "coverage": 0.0, "missing": []}


@given(
    st.sampled_from([None, *OPEN_RUN_STATES, *ENDED]),
    st.integers(0, 50).flatmap(lambda items: st.tuples(st.just(items), st.integers(0, items))),
    st.floats(0, 1),
    st.integers(-5, 5),
    st.sampled_from(["start", "skip"]),
)
def test_before_the_deadline_nothing_starts_without_its_coverage_and_after_it_nothing_waits(
    status: str | None,
    counts: tuple[int, int],
    min_coverage: float,
    seconds: int,
    at_deadline: Literal["start", "skip"],
) -> None:
    items, completed = counts
    awaited = Awaited("bars", "started", None, 42 if status else None, status, items, completed)
    now = DEADLINE + timedelta(seconds=seconds)
    action, reason = decide_dependency(awaited, min_coverage, now, DEADLINE, at_deadline)
    coverage = completed / items if items else float(status == "COMPLETED")  # it had nothing to do
    is_enough = status in ENDED and coverage >= min_coverage
    if is_enough:
        assert action == "start"
    else:
        assert action == ("wait" if seconds < 0 else at_deadline)
    assert (reason is None) == (is_enough and coverage == 1.0)
