"""Maintenance windows: while one is open, no tick of its schedules starts a run. Pure.

A window skips the ticks in it, or lets them wait for its end. A tick from before it that has not started yet waits for
its end in both cases.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Literal

from streamworkers.schedules.planner import MOST_CAUGHT_UP, Decision, TickPlan
from streamworkers.schedules.timing import Tick, zone_named

Mode = Literal["skip", "wait"]
MOST_IN_A_STEP = 100_000


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A period from `starts_at` to before `ends_at`; `schedule_ids` None stands for all schedules."""

    id: int
    starts_at: datetime
    ends_at: datetime
    schedule_ids: frozenset[int] | None
    mode: Mode
    timezone: str
    note: str

    def covers(self, schedule_id: int) -> bool:
        """Whether it is one of a schedule."""
        return self.schedule_ids is None or schedule_id in self.schedule_ids

    def holds(self, moment: datetime) -> bool:
        """Whether a moment is in it."""
        return self.starts_at <= moment < self.ends_at

    def describe(self) -> str:
        """Its name, its times in its zone, and why it is there."""
        zone = zone_named(self.timezone)
        first, last = (each.astimezone(zone).strftime("%Y-%m-%d %H:%M %Z") for each in (self.starts_at, self.ends_at))
        return f"maintenance window {self.id} from {first} until {last}" + (f": {self.note}" if self.note else "")


def windows_of(windows: Iterable[MaintenanceWindow], schedule_id: int) -> list[MaintenanceWindow]:
    """Those windows that are of a schedule."""
    return [window for window in windows if window.covers(schedule_id)]


def find_skipping(windows: Iterable[MaintenanceWindow], moment: datetime) -> MaintenanceWindow | None:
    """The window in which a tick at that moment is skipped, or None."""
    return next((window for window in windows if window.mode == "skip" and window.holds(moment)), None)


def find_open(windows: Iterable[MaintenanceWindow], now: datetime) -> MaintenanceWindow | None:
    """Of the windows that are open, the one that ends last; None if none is."""
    return max((window for window in windows if window.holds(now)), key=lambda window: window.ends_at, default=None)


def find_release(windows: Iterable[MaintenanceWindow], moment: datetime, now: datetime) -> datetime | None:
    """The end of the windows in which a tick at that moment waited, if they have ended; None if it was in none."""
    ends = [each.ends_at for each in windows if each.mode == "wait" and each.holds(moment) and each.ends_at <= now]
    return max(ends, default=None)


def find_wait_start(windows: Iterable[MaintenanceWindow], decided_at: datetime, now: datetime) -> datetime:
    """Since when a tick that was decided to wait can have started: the end of the last window meanwhile."""
    ends = (window.ends_at for window in windows if window.starts_at <= now and decided_at < window.ends_at <= now)
    return max((decided_at, *ends))


@dataclass
class WindowSieve:
    """Takes the due ticks that windows skip out of the ticks that are planned, and decides about them.

    One decision is about ticks whose moments are of one `group`.
    """

    windows: Sequence[MaintenanceWindow]
    group: Callable[[datetime], object] = lambda moment: None
    _taken: list[tuple[MaintenanceWindow, Tick]] = field(default_factory=list, init=False)
    _following: Tick | None = field(default=None, init=False)

    def leave_out(self, ticks: Iterable[Tick], due_at: Callable[[datetime], datetime], now: datetime) -> Iterator[Tick]:
        """The ticks without those that are due and in a window; at most `MOST_IN_A_STEP` of these are looked at."""
        for tick in ticks:
            window = find_skipping(self.windows, tick.moment)
            if window is None or due_at(tick.moment) > now:
                yield tick
            elif len(self._taken) == MOST_IN_A_STEP:
                self._following = tick
                return
            else:
                self._taken.append((window, tick))

    def complete(self, plan: TickPlan) -> TickPlan:
        """A plan of the ticks that were left, with the decisions about those that were taken out, in their order."""
        following = plan.following or self._following
        taken = [each for each in self._taken if following is None or each[1].moment < following.moment]
        if not taken:
            return TickPlan(plan.decisions, following)
        decisions = [*plan.decisions, *self._decide(taken)]
        return TickPlan(sorted(decisions, key=lambda decision: decision.tick.moment), following)

    def _decide(self, taken: list[tuple[MaintenanceWindow, Tick]]) -> Iterator[Decision]:
        """Each tick alone, or if they are many one decision for those of a window."""
        if len(taken) <= MOST_CAUGHT_UP:
            yield from (Decision(tick, "skipped", window.describe()) for window, tick in taken)
            return
        for (window, _), each in groupby(taken, key=lambda pair: (pair[0], self.group(pair[1].moment))):
            ticks = [tick for _, tick in each]
            text = f"{len(ticks)} ticks from {ticks[0].moment:%Y-%m-%d %H:%M:%S} UTC on: {window.describe()}"
            yield Decision(ticks[-1], "skipped", text, len(ticks))
