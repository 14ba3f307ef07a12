"""The series that a Prometheus would have scraped in the day before a night's moment, computed from its runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from preview.evening.plan import SEED, Night, RunPlan, Tick, away_since

STEP_SECONDS = 60
HOURS = 25  # a board that looks back a day does not see where the series begin
SUPERVISORS = ("vm3:9101", "vm4:9101")
SCHEDULERS = ("vm3:9102", "vm4:9102")
QUEUES = ("analysis", "load", "maintenance")
JOBS = {
    "analysis": ("analysis", "indicators", "patterns"),
    "load": ("load_ohlcv",),
    "maintenance": ("cache_maintenance", "database_cleanup", "health_check"),
}
SLOTS_EACH = 2
Values: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    """One series: a value at each step, NaN where there is no sample."""

    name: str
    labels: Labels
    values: Values


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a handler."""

    queue: str
    job: str
    slot: int
    ended: float
    seconds: float
    waited: float
    items: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the series are computed from. `next_ticks` and `patterns` are those of the database."""

    night: Night
    runs: Sequence[RunPlan]
    ticks: Sequence[Tick]
    next_ticks: Mapping[str, datetime | None]
    patterns: Sequence[tuple[tuple[str, str], int]]

    @property
    def away_since(self) -> float | None:
        """When the provider of bars went away, as a Unix time; None if it is there."""
        since = away_since(self.night, self.runs)
        return None if since is None else since.timestamp()


class Clock:
    """The steps of a day before a moment, and counting along them."""

    def __init__(self, night: Night) -> None:
        end = night.now.timestamp()
        # A new installation is twelve minutes old.
        seconds = 12 * 60 if night.is_first else HOURS * 3600
        self.times: Values = np.arange(end - seconds, end + 1, STEP_SECONDS, dtype=np.float64)
        self.random = np.random.default_rng(SEED)

    @cached_property
    def one(self) -> Values:
        """1 at every step."""
        return np.ones_like(self.times)

    def passed(self, moments: Sequence[float]) -> Values:
        """How many of these moments have passed at each step, also of those before the day."""
        counts: Values = np.searchsorted(np.sort(np.asarray(moments)), self.times, side="right").astype(np.float64)
        return counts

    def count(self, moments: Sequence[float] | Values) -> Values:
        """How many of these moments have passed at each step, from those of the day on."""
        found = np.sort(np.asarray(moments, dtype=np.float64))
        before = np.searchsorted(found, self.times[0], side="right")
        counts: Values = (np.searchsorted(found, self.times, side="right") - before).astype(np.float64)
        return counts

    def add_up(self, moments: Sequence[float], amounts: Sequence[float]) -> Values:
        """The sum of the amounts whose moments have passed at each step."""
        order = np.argsort(np.asarray(moments, dtype=np.float64))
        sums = np.concatenate(([0.0], np.cumsum(np.asarray(amounts, dtype=np.float64)[order])))
        places = np.searchsorted(np.asarray(moments, dtype=np.float64)[order], self.times, side="right")
        found: Values = sums[places] - sums[places[0]]
        return found

    def noise(self, middle: float, share: float) -> Values:
        """A gauge that moves about a value."""
        walk = np.cumsum(self.random.normal(0, share / 8, self.times.size))
        found: Values = middle * (1 + np.clip(walk - walk.mean(), -share, share))
        return found

    def grow(self, each_second: float) -> Values:
        """A counter that goes up steadily."""
        grown: Values = (self.times - self.times[0]) * each_second
        return grown


def calls_of(runs: Sequence[RunPlan], most: int = 8) -> list[Call]:
    """The calls in which the items of runs were executed: up to eight items that followed each other in a slot."""
    found = []
    for run in runs:
        by_slot: dict[int, list[tuple[float, float]]] = {}
        for item in run.items:
            if item.slot is not None and item.started and item.finished:
                by_slot.setdefault(item.slot, []).append((item.started.timestamp(), item.finished.timestamp()))
        for slot, spans in by_slot.items():
            for first in range(0, len(spans), most):
                part = spans[first : first + most]
                begin, end = part[0][0], part[-1][1]
                waited = begin - run.created.timestamp()
                found.append(Call(run.queue, run.job, slot, end, end - begin, waited, len(part)))
    return found


def histogram(
    name: str, labels: Labels, bounds: Sequence[float], clock: Clock, seen: Sequence[tuple[float, float]]
) -> Iterator[Series]:
    """The buckets, the sum and the count of observations, each a moment and a value; nothing without observations."""
    if not seen:
        return
    moments = np.array([moment for moment, _ in seen], dtype=np.float64)
    values = np.array([value for _, value in seen], dtype=np.float64)
    for bound in (*bounds, np.inf):
        text = "+Inf" if bound == np.inf else f"{float(bound)}"
        yield Series(f"{name}_bucket", {**labels, "le": text}, clock.count(moments[values <= bound]))
    yield Series(f"{name}_sum", labels, clock.add_up(list(moments), list(values)))
    yield Series(f"{name}_count", labels, clock.count(moments))
