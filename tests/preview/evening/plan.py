"""What happened when: the runs of fourteen days and of tonight, item by item. Pure functions of a seed and a night."""

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from streamworkers.market.calendar.sessions import sessions_between

Begun: TypeAlias = tuple[datetime, str, str, Sequence[str], "Load"]

SEED = 20260114
ZONE = ZoneInfo("America/New_York")
TONIGHT = date(2026, 1, 14)
HISTORY_DAYS = 14
SYMBOLS = tuple(f"SYN{number:03d}" for number in range(1, 517))
UNIVERSES = "nasdaq100:sp500:dow30"
WORKERS = ("nightly-7f4c9-vm3.1", "nightly-7f4c9-vm3.2", "nightly-b81d2-vm4.1", "nightly-b81d2-vm4.2")
AWAY = "TransientError: massive did not answer in time (ReadTimeout)"
_FIRST_RUN = 3_702
_QUEUES = {"load_ohlcv": "load", "indicators": "analysis", "patterns": "analysis"}


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """One item: when it was executed last and by which slot, and how it ended; `finished` is None while it is open."""

    key: str
    status: str
    attempt: int = 0
    slot: int | None = None
    started: datetime | None = None
    finished: datetime | None = None
    error: str | None = None
    history: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run with its items."""

    id: int
    schedule: str
    job: str
    due: datetime
    created: datetime
    items: tuple[ItemPlan, ...]
    started: datetime | None
    completed: datetime | None

    @property
    def queue(self) -> str:
        """The queue of its job."""
        return _QUEUES.get(self.job, "maintenance")

    @property
    def status(self) -> str:
        """The state of the run, as its items have it."""
        if self.completed is None:
            return "RUNNING" if self.started else "PENDING"
        failed = self.count("failed")
        if failed == 0:
            return "COMPLETED"
        return "FAILED" if failed == len(self.items) else "COMPLETED_WITH_ERRORS"

    def count(self, status: str) -> int:
        """The number of items in a state."""
        return sum(item.status == status for item in self.items)


@dataclass(frozen=True, slots=True)
class Load:
    """How much time an item of a job takes, and which items fail, with their errors; a permanent one is not retried.

    An error raised in the handler has a stack. After `stops_after` items the others wait: the provider is away.
    """

    seconds: float
    errors: Mapping[str, str] = field(default_factory=dict)
    retried: Mapping[str, str] = field(default_factory=dict)
    permanent: tuple[str, ...] = ()
    stacks: Mapping[str, str] = field(default_factory=dict)
    stops_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What is special about tonight, seen at `clock` New York time. `first` is the evening of a new installation."""

    name: str
    clock: time
    loads: Mapping[str, Load]
    alerts: tuple[Mapping[str, str], ...] = ()
    is_first: bool = False
    provider_is_dead: bool = False

    @property
    def now(self) -> datetime:
        """The moment at which the boards are looked at."""
        return at(TONIGHT, self.clock)


@dataclass(frozen=True, slots=True)
class Tick:
    """What was decided on a tick of a schedule."""

    schedule: str
    due: datetime
    state: str
    run: int | None = None
    reason: str | None = None


def at(day: date, clock: time) -> datetime:
    """A moment of New York's clock, in UTC."""
    return datetime.combine(day, clock, ZONE).astimezone(UTC)


def usual_loads() -> dict[str, Load]:
    """How a night without anything special goes: 6.6, 6.7 and 16.4 minutes on four slots."""
    return {"load_ohlcv": Load(3.05), "indicators": Load(3.1), "patterns": Load(7.6)}


def plan_runs(night: Night) -> tuple[list[RunPlan], list[Tick]]:
    """All runs up to the night's moment, the oldest first, and the ticks of their schedules."""
    if night.is_first:
        return [], []
    rng = random.Random(SEED)
    begun: list[Begun] = []
    first = TONIGHT - timedelta(days=HISTORY_DAYS)
    sessions = set(sessions_between("XNYS", first, TONIGHT).days)
    for number in range(HISTORY_DAYS + 1):
        day = first + timedelta(days=number)
        begun += _of_maintenance(day, rng)
        if day in sessions:
            begun += _of_session(day, night.loads if day == TONIGHT else _earlier(number, rng))
    runs: list[RunPlan] = []
    ticks: list[Tick] = []
    for due, schedule, job, keys, load in sorted(begun, key=lambda each: each[0]):
        if due > night.now:
            continue
        start = due + timedelta(milliseconds=rng.randrange(40, 160))
        if job == "patterns":
            indicators = next(run for run in reversed(runs) if run.job == "indicators")
            if reason := _waits(indicators):
                ticks.append(Tick(schedule, due, "waiting", reason=reason))
                continue
            assert indicators.completed is not None
            start = indicators.completed + timedelta(milliseconds=200)
        run = _simulate(_FIRST_RUN + len(runs), (schedule, job, due, start), keys, load, night.now, rng)
        runs.append(run)
        ticks.append(Tick(schedule, due, "started", run.id))
    return runs, ticks


def away_since(night: Night, runs: Sequence[RunPlan]) -> datetime | None:
    """When the provider of bars went away: at the end of the last load; None if it is there."""
    if not night.provider_is_dead:
        return None
    return max(item.finished for run in runs if run.job == "load_ohlcv" for item in run.items if item.finished)


def _waits(indicators: RunPlan) -> str | None:
    if indicators.completed is None:
        return f"run {indicators.id} of daily_indicator_calculation is open"
    share = indicators.count("completed") / len(indicators.items)
    return (
        None
        if share >= 0.99
        else f"run {indicators.id} of daily_indicator_calculation completed {share:.0%} of its items"
    )


def _of_maintenance(day: date, rng: random.Random) -> list[Begun]:
    found: list[Begun] = [
        (at(day, time(hour)), "hourly_health_monitoring", "health_check", ("system",), Load(rng.uniform(0.1, 0.3)))
        for hour in range(24)
    ]
    found.append((at(day, time(3)), "daily_database_cleanup", "database_cleanup", ("all",), Load(rng.uniform(35, 65))))
    if day.weekday() == 6:
        found.append((at(day, time(4)), "weekly_cache_maintenance", "cache_maintenance", ("all",), Load(8.2)))
    return found


def _of_session(day: date, loads: Mapping[str, Load]) -> list[Begun]:
    return [
        (at(day, time(17, 5)), "daily_load", "load_ohlcv", SYMBOLS, loads["load_ohlcv"]),
        (at(day, time(18, 10)), "daily_indicator_calculation", "indicators", SYMBOLS, loads["indicators"]),
        (at(day, time(18, 10, 1)), "daily_pattern_detection", "patterns", SYMBOLS, loads["patterns"]),
    ]


def _earlier(number: int, rng: random.Random) -> dict[str, Load]:
    """A night before tonight: a little faster or slower, and one of them with failures."""
    errors = {}
    if number == 5:
        errors = dict.fromkeys(SYMBOLS[40:52], AWAY)
    loads = {job: Load(load.seconds * rng.uniform(0.93, 1.1)) for job, load in usual_loads().items()}
    return loads | {"load_ohlcv": Load(loads["load_ohlcv"].seconds, errors)}


def _simulate(
    number: int,
    what: tuple[str, str, datetime, datetime],
    keys: Sequence[str],
    load: Load,
    now: datetime,
    rng: random.Random,
) -> RunPlan:
    schedule, job, due, created = what
    free = [(created + timedelta(milliseconds=30 * slot), slot) for slot in range(min(len(WORKERS), len(keys)))]
    heapq.heapify(free)
    items: list[ItemPlan] = []
    for key in keys:
        if load.stops_after is not None and len(items) >= load.stops_after:
            items.append(ItemPlan(key, "pending"))
            continue
        begin, slot = heapq.heappop(free)
        item = _execute(key, slot, begin, load, rng)
        items.append(_as_of(item, now))
        assert item.finished is not None
        heapq.heappush(free, (item.finished + timedelta(milliseconds=5), slot))
    starts = [item.started for item in items if item.started]
    ends = [item.finished for item in items if item.finished]
    completed = max(ends) + timedelta(milliseconds=90) if len(ends) == len(items) else None
    return RunPlan(number, schedule, job, due, created, tuple(items), min(starts, default=None), completed)


def _execute(key: str, slot: int, begin: datetime, load: Load, rng: random.Random) -> ItemPlan:
    took = timedelta(seconds=load.seconds * rng.lognormvariate(-0.08, 0.4))
    error = load.errors.get(key)
    earlier = error or load.retried.get(key)
    history: tuple[dict[str, Any], ...] = ()
    attempt = 1
    if earlier:
        attempt = (1 if error in load.permanent else 3) if error else 2
        stack = {"stack": load.stacks[earlier]} if earlier in load.stacks else {}
        history = tuple(
            {"attempt": one, "worker": WORKERS[slot], "at": begin.isoformat(), "error": earlier, **stack}
            for one in range(1, attempt + 1 if error else attempt)
        )
    status = "failed" if error else "completed"
    return ItemPlan(key, status, attempt, slot, begin, begin + took, error, history)


def _as_of(item: ItemPlan, now: datetime) -> ItemPlan:
    """The item as the ledger has it at a moment: until it is closed it is pending, or retrying after an attempt."""
    assert item.started is not None
    assert item.finished is not None
    if item.finished <= now:
        return item
    if item.started > now or not item.history:
        return ItemPlan(item.key, "pending")
    return ItemPlan(item.key, "retrying", 1, error=item.history[0]["error"], history=item.history[:1])
