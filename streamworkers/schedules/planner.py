"""Decides about due ticks: a pure function of the ticks, the clock and the schedule's policy.

A tick is on time until `misfire_grace_seconds` after it was due. If several are on time at once, as after a short
pause, `coalesce` starts only the newest. Ticks that are later than that are caught up as `catch_up` says: `skip` starts
none, `latest` the newest unless a tick on time starts anyway, `all` the newest `MOST_CAUGHT_UP`. Every tick that starts
no run gets a decision with its reason; a very long backlog gets one decision for many ticks.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Literal, NamedTuple

from streamworkers.schedules.timing import Tick

MOST_CAUGHT_UP = 100
MOST_STARTED = 20
STEP = 1000
COALESCED = "coalesced into"  # how the reason begins of a tick that a newer one on time replaces

CatchUp = Literal["skip", "latest", "all"]


class Decision(NamedTuple):
    """The decision about a tick or, if `tick_count` is above 1, about that many ticks up to and including it."""

    tick: Tick
    state: Literal["start", "missed", "skipped"]
    reason: str | None = None
    tick_count: int = 1


@dataclass(frozen=True, slots=True)
class Policy:
    """How a schedule treats late ticks."""

    catch_up: CatchUp
    grace_seconds: float
    coalesce: bool


@dataclass(frozen=True, slots=True)
class TickPlan:
    """Decisions in the order of their ticks, and the next undecided tick, which may be due already."""

    decisions: list[Decision]
    following: Tick | None


def plan_ticks(
    ticks: Iterable[Tick],
    due_at: Callable[[datetime], datetime],
    now: datetime,
    policy: Policy,
    group: Callable[[datetime], object] = lambda moment: None,
) -> TickPlan:
    """Decide about the ticks that are due at `now`, up to about `STEP` of them.

    `ticks` begins with the first undecided tick; `due_at` returns when a tick is due (its moment and jitter). One
    decision is about ticks whose moments are of one `group`.
    """
    overdue: list[Tick] = []
    late: list[tuple[Tick, float]] = []
    following: Tick | None = None
    due = datetime.min.replace(tzinfo=UTC)
    for tick in islice(ticks, STEP + MOST_CAUGHT_UP + 1):
        # Ticks are decided in order: a tick with little jitter is not due before the tick ahead of it.
        due = max(due, due_at(tick.moment))
        if due > now:
            following = tick
            break
        overdue.append(tick)
        if (late_seconds := (now - due).total_seconds()) > policy.grace_seconds:
            late.append((tick, late_seconds))
    else:
        if len(overdue) > STEP + MOST_CAUGHT_UP:
            # No policy starts any of the first STEP ticks.
            count = _count_of_one_group(overdue[:STEP], group)
            reason = f"{count} ticks from {overdue[0].moment:%Y-%m-%d %H:%M:%S} UTC on are too old to be caught up"
            return TickPlan([Decision(overdue[count - 1], "missed", reason, count)], overdue[count])
    return TickPlan([*_decide_late(late, overdue, policy), *_decide_on_time(overdue[len(late) :], policy)], following)


def limit_starts(plan: TickPlan) -> TickPlan:
    """The decisions up to the `MOST_STARTED`th start, so that other schedules are not kept waiting by all of them."""
    starts = [place for place, decision in enumerate(plan.decisions) if decision.state == "start"]
    if len(starts) <= MOST_STARTED:
        return plan
    following = starts[MOST_STARTED]
    return TickPlan(plan.decisions[:following], plan.decisions[following].tick)


def plan_skipped(ticks: Iterable[Tick], reason: str) -> TickPlan:
    """Decide to skip ticks, up to about `STEP` of them: each alone, or if there are more that many in one decision."""
    found = list(islice(ticks, STEP + MOST_CAUGHT_UP + 1))
    if len(found) <= STEP + MOST_CAUGHT_UP:
        return TickPlan([Decision(tick, "skipped", reason) for tick in found], None)
    text = f"{STEP} ticks from {found[0].moment:%Y-%m-%d %H:%M:%S} UTC on: {reason}"
    return TickPlan([Decision(found[STEP - 1], "skipped", text, STEP)], found[STEP])


def _count_of_one_group(ticks: list[Tick], group: Callable[[datetime], object]) -> int:
    return sum(1 for _ in takewhile(lambda tick: group(tick.moment) == group(ticks[0].moment), ticks))


def _decide_late(late: list[tuple[Tick, float]], overdue: list[Tick], policy: Policy) -> Iterator[Decision]:
    newest_started = {"skip": 0, "latest": 1, "all": MOST_CAUGHT_UP}[policy.catch_up]
    first_started = max(0, len(overdue) - newest_started)
    for place, (tick, seconds) in enumerate(late):
        if place >= first_started:
            yield Decision(tick, "start")
            continue
        reason = f"{seconds:,.0f} s late, over the grace of {policy.grace_seconds:,.0f} s"
        match policy.catch_up:
            case "skip":
                reason += ", and catch_up is skip"
            case "latest":
                reason += f"; caught up by the tick of {overdue[-1].moment:%Y-%m-%d %H:%M:%S} UTC"
            case "all":
                reason += f", and not among the newest {MOST_CAUGHT_UP}"
        yield Decision(tick, "missed", reason)


def _decide_on_time(ticks: list[Tick], policy: Policy) -> Iterator[Decision]:
    for tick in ticks[:-1]:
        if policy.coalesce and policy.catch_up != "all":
            newest = ticks[-1].moment
            yield Decision(tick, "skipped", f"{COALESCED} the tick of {newest:%Y-%m-%d %H:%M:%S} UTC")
        else:
            yield Decision(tick, "start")
    if ticks:
        yield Decision(ticks[-1], "start")
