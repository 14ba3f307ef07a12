"""Decisions about due ticks under each policy."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.schedules.planner import MOST_CAUGHT_UP, STEP, CatchUp, Policy, TickPlan, plan_ticks
from streamworkers.schedules.timing import Tick, jittered

FIRST = datetime(2026, 1, 2, 10, tzinfo=UTC)
GRACE = 300.0
LATEST: CatchUp = "latest"


def at(seconds: float) -> datetime:
    return FIRST + timedelta(seconds=seconds)


def tick(seconds: float) -> Tick:
    return Tick(at(seconds), FIRST.date())


def unjittered(moment: datetime) -> datetime:
    return moment


def planned(
    spacing: int,
    now: float,
    catch_up: CatchUp = LATEST,
    *,
    grace: float = GRACE,
    coalesce: bool = True,
    due_at: Callable[[datetime], datetime] = unjittered,
) -> TickPlan:
    """The plan for ticks that are so many seconds apart, without end, from 0 on."""
    return plan_ticks((tick(n * spacing) for n in count()), due_at, at(now), Policy(catch_up, grace, coalesce))


def states(made: TickPlan) -> list[str]:
    return [decision.state for decision in made.decisions]


def reasons(made: TickPlan) -> list[str | None]:
    return [decision.reason for decision in made.decisions]


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
def test_a_tick_that_is_not_due_waits(catch_up: CatchUp) -> None:
    assert planned(60, -0.001, catch_up) == TickPlan([], tick(0))


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
@pytest.mark.parametrize("late", [0, 1, 299, 300])
def test_a_tick_within_its_grace_starts_whatever_the_policy(catch_up: CatchUp, late: int) -> None:
    made = planned(3600, late, catch_up)
    assert [(decision.tick, decision.state, decision.reason) for decision in made.decisions] == [
        (tick(0), "start", None)
    ]
    assert made.following == tick(3600)


@pytest.mark.parametrize(
    ("catch_up", "state", "reason"),
    [
        ("skip", "missed", "301 s late, over the grace of 300 s, and catch_up is skip"),
        ("latest", "start", None),
        ("all", "start", None),
    ],
)
def test_a_tick_after_its_grace_is_missed_or_caught_up(catch_up: CatchUp, state: str, reason: str | None) -> None:
    made = planned(3600, 301, catch_up)
    assert (states(made), reasons(made), made.following) == ([state], [reason], tick(3600))


def test_skip_misses_all_late_ticks_and_starts_the_one_on_time() -> None:
    made = planned(3600, 2 * 3600 + 10, "skip")
    assert states(made) == ["missed", "missed", "start"]
    assert reasons(made) == [
        "7,210 s late, over the grace of 300 s, and catch_up is skip",
        "3,610 s late, over the grace of 300 s, and catch_up is skip",
        None,
    ]


def test_latest_starts_the_newest_late_tick_and_names_it_to_the_others() -> None:
    made = planned(3600, 2 * 3600 + 1000)
    assert states(made) == ["missed", "missed", "start"]
    assert reasons(made)[:2] == [
        "8,200 s late, over the grace of 300 s; caught up by the tick of 2026-01-02 12:00:00 UTC",
        "4,600 s late, over the grace of 300 s; caught up by the tick of 2026-01-02 12:00:00 UTC",
    ]


def test_latest_starts_no_late_tick_when_one_on_time_starts_anyway() -> None:
    made = planned(3600, 2 * 3600 + 10)
    assert states(made) == ["missed", "missed", "start"]
    assert made.decisions[-1].tick == tick(7200)


@pytest.mark.parametrize("coalesce", [True, False])
def test_all_starts_every_late_tick_up_to_its_bound(coalesce: bool) -> None:
    made = planned(3600, 4 * 3600 + 1000, "all", coalesce=coalesce)
    assert states(made) == ["start"] * 5
    made = planned(3600, (MOST_CAUGHT_UP + 2) * 3600 + 1000, "all", coalesce=coalesce)
    assert states(made) == ["missed"] * 3 + ["start"] * MOST_CAUGHT_UP
    assert (
        reasons(made)[2]
        == f"{MOST_CAUGHT_UP * 3600 + 1000:,} s late, over the grace of 300 s, and not among the newest 100"
    )


def test_of_several_on_time_the_newest_alone_starts_when_they_are_coalesced() -> None:
    made = planned(60, 150)
    assert states(made) == ["skipped", "skipped", "start"]
    assert reasons(made) == ["coalesced into the tick of 2026-01-02 10:02:00 UTC"] * 2 + [None]
    assert made.following == tick(180)


@pytest.mark.parametrize(("catch_up", "coalesce"), [("skip", False), ("latest", False), ("all", True), ("all", False)])
def test_all_that_are_on_time_start_when_they_are_not_coalesced(catch_up: CatchUp, coalesce: bool) -> None:
    assert states(planned(60, 150, catch_up, coalesce=coalesce)) == ["start"] * 3


def test_late_ticks_and_those_on_time_are_told_apart_at_the_grace() -> None:
    made = planned(100, 1000, coalesce=False)
    assert states(made) == ["missed"] * 7 + ["start"] * 4
    assert made.decisions[7].tick == tick(700)


def test_a_grace_of_nothing_is_over_at_once() -> None:
    assert states(planned(60, 0, "skip", grace=0)) == ["start"]
    assert states(planned(60, 0.001, "skip", grace=0)) == ["missed"]


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
def test_ticks_too_many_to_be_caught_up_are_missed_in_one_step(catch_up: CatchUp) -> None:
    made = planned(60, (STEP + MOST_CAUGHT_UP) * 60, catch_up)
    (decision,) = made.decisions
    assert (decision.tick, decision.state, decision.tick_count) == (tick((STEP - 1) * 60), "missed", STEP)
    assert decision.reason == "1000 ticks from 2026-01-02 10:00:00 UTC on are too old to be caught up"
    assert made.following == tick(STEP * 60)


@pytest.mark.parametrize("catch_up", ["skip", "latest", "all"])
def test_one_tick_fewer_is_decided_one_by_one(catch_up: CatchUp) -> None:
    made = planned(60, (STEP + MOST_CAUGHT_UP - 1) * 60, catch_up)
    assert [decision.tick_count for decision in made.decisions] == [1] * (STEP + MOST_CAUGHT_UP)
    assert made.following == tick((STEP + MOST_CAUGHT_UP) * 60)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_where_the_ticks_end_nothing_follows(number: int) -> None:
    ticks = iter([tick(n * 60) for n in range(number)])
    made = plan_ticks(ticks, unjittered, at(10_000), Policy("all", GRACE, True))
    assert made.following is None
    assert states(made) == ["start"] * number


def test_a_tick_is_due_when_its_jitter_is_over_and_its_grace_begins_then() -> None:
    def late_by_100(moment: datetime) -> datetime:
        return moment + timedelta(seconds=100)

    assert planned(3600, 99, due_at=late_by_100) == TickPlan([], tick(0))
    assert states(planned(3600, 100, due_at=late_by_100)) == ["start"]
    assert states(planned(3600, 400, "skip", due_at=late_by_100)) == ["start"]
    assert reasons(planned(3600, 401, "skip", due_at=late_by_100)) == [
        "301 s late, over the grace of 300 s, and catch_up is skip"
    ]


def test_jitter_that_changes_the_order_loses_no_tick_and_doubles_none() -> None:
    delays = {at(0): 0, at(60): 290, at(120): 0, at(180): 0}

    def due_at(moment: datetime) -> datetime:
        return moment + timedelta(seconds=delays.get(moment, 0))

    ticks = iter([tick(0), tick(60), tick(120), tick(180)])
    made = plan_ticks(ticks, due_at, at(500), Policy("skip", GRACE, False))
    # Those behind the second tick are not due before it, and so no later than it.
    assert [(decision.tick, decision.state) for decision in made.decisions] == [
        (tick(0), "missed"),
        (tick(60), "start"),
        (tick(120), "start"),
        (tick(180), "start"),
    ]


@settings(max_examples=200)
@given(
    spacing=st.sampled_from([1, 7, 60, 3600]),
    overdue=st.integers(0, 150) | st.integers(0, 2 * STEP + 150),
    rest=st.floats(0, 0.999),
    catch_up=st.sampled_from(["skip", "latest", "all"]),
    grace=st.sampled_from([0.0, 1.0, 300.0, 5000.0]),
    coalesce=st.booleans(),
    jitter=st.sampled_from([0, 0, 1, 600, 86_400]),
)
def test_every_tick_that_is_due_is_decided_exactly_once_and_no_other(
    spacing: int, overdue: int, rest: float, catch_up: CatchUp, grace: float, coalesce: bool, jitter: int
) -> None:
    now = at((overdue - 1 + rest) * spacing)
    due_at = cache(partial(jittered, schedule_id=7, jitter_seconds=jitter))
    policy = Policy(catch_up, grace, coalesce)
    decided, starts, following, rounds = 0, 0, tick(0), 0
    while due_at(following.moment) <= now:
        rounds += 1
        assert rounds <= 3
        first = int((following.moment - FIRST).total_seconds()) // spacing
        made = plan_ticks((tick(n * spacing) for n in count(first)), due_at, now, policy)
        for decision in made.decisions:
            decided += decision.tick_count
            # The tick of a decision is the last of those that it stands for: none is left out, in their order.
            assert decision.tick == tick((decided - 1) * spacing)
            assert due_at(decision.tick.moment) <= now
            assert (decision.state == "start") == (decision.reason is None)
            starts += decision.state == "start"
        assert made.following == tick(decided * spacing)
        following = made.following
    if catch_up == "latest" and coalesce:
        assert starts <= 1
    if catch_up == "all" and grace == 0:
        assert starts <= MOST_CAUGHT_UP
    if not jitter:
        assert decided == overdue
        assert starts >= {"skip": 0, "latest": min(decided, 1), "all": min(decided, MOST_CAUGHT_UP)}[catch_up]


def test_what_comes_after_the_first_step_is_not_looked_at() -> None:
    looked_at = 0

    def due_at(moment: datetime) -> datetime:
        nonlocal looked_at
        looked_at += 1
        return moment

    ticks = islice((tick(n) for n in count()), 10**9)
    plan_ticks(ticks, due_at, at(10**8), Policy("latest", GRACE, True))
    assert looked_at == STEP + MOST_CAUGHT_UP + 1
    assert next(ticks) == tick(STEP + MOST_CAUGHT_UP + 1)
