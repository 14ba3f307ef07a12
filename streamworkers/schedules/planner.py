"""What becomes of ticks whose time has come: a pure function of the ticks, the clock and the schedule's policy.

A tick is on time for `misfire_grace_seconds` after it was due. Of several that are on time at once, as after a short
pause, `coalesce` starts the newest alone. Later ones are caught up by `catch_up`: `skip` none of them, `latest` the
newest if no tick on time starts anyway, `all` the newest `MOST_CAUGHT_UP`. Every tick that starts no run is named with
its reason; where they are too many, many of them in one row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, NamedTuple

from streamworkers.schedules.timing import Tick

MOST_CAUGHT_UP = 100
STEP = 1000

CatchUp = Literal["skip", "latest", "all"]


class Decision(NamedTuple):
    """What becomes of a tick, or, for `ticks` above 1, of so many up to and including it."""

    tick: Tick
    state: Literal["start", "missed", "skipped"]
    reason: str | None = None
    ticks: int = 1


@dataclass(frozen=True, slots=True)
class Policy:
    """How a schedule treats ticks that it could not start in time."""

    catch_up: CatchUp
    grace_seconds: float
    coalesce: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Decisions in the order of their ticks, and the next tick to look at, which may be due already."""

    decisions: list[Decision]
    following: Tick | None


def plan(ticks: Iterator[Tick], due_at: Callable[[datetime], datetime], now: datetime, policy: Policy) -> Plan:
    """Decide on all ticks that are due at `now`, at most about `STEP` of them.

    `ticks` begins with the first tick that is not decided; `due_at` says when a tick is due (its moment and jitter).
    """
    overdue: list[Tick] = []
    late: list[tuple[Tick, float]] = []
    following: Tick | None = None
    due = datetime.min.replace(tzinfo=UTC)
    for tick in islice(ticks, STEP + MOST_CAUGHT_UP + 1):
        # Ticks are decided in their order: one with little jitter is not due before the one ahead of it.
        due = max(due, due_at(tick.moment))
        if due > now:
            following = tick
            break
        overdue.append(tick)
        if (late_seconds := (now - due).total_seconds()) > policy.grace_seconds:
            late.append((tick, late_seconds))
    else:
        if len(overdue) > STEP + MOST_CAUGHT_UP:
            # Whatever the policy, none of the first is among the newest that it could start.
            reason = f"{STEP} ticks from {overdue[0].moment:%Y-%m-%d %H:%M:%S} UTC on are too old to be caught up"
            return Plan([Decision(overdue[STEP - 1], "missed", reason, STEP)], overdue[STEP])
    return Plan([*_caught_up(late, overdue, policy), *_on_time(overdue[len(late) :], policy)], following)


def _caught_up(late: list[tuple[Tick, float]], overdue: list[Tick], policy: Policy) -> Iterator[Decision]:
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


def _on_time(ticks: list[Tick], policy: Policy) -> Iterator[Decision]:
    for tick in ticks[:-1]:
        if policy.coalesce and policy.catch_up != "all":
            newest = ticks[-1].moment
            yield Decision(tick, "skipped", f"coalesced into the tick of {newest:%Y-%m-%d %H:%M:%S} UTC")
        else:
            yield Decision(tick, "start")
    if ticks:
        yield Decision(ticks[-1], "start")
