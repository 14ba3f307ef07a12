"""What a fleet makes of a process that has stood still, in whatever it was doing."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest

from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.supervisor import fleet as module
from streamworkers.engine.supervisor.child import START_SECONDS, Limits
from streamworkers.engine.supervisor.fleet import Fleet
from streamworkers.engine.worker_end import Ending


class StillProcess:
    """A worker that neither says anything nor ends."""

    pid = 2**22 + 1  # no process has it

    def __init__(self, status_descriptor: int) -> None:
        self.kept = os.dup(status_descriptor)
        self.signals: list[int] = []

    def poll(self) -> Ending | None:
        return None

    def wait(self, seconds: float) -> bool:
        del seconds
        return False

    def send_signal(self, number: int) -> None:
        self.signals.append(number)

    def close(self) -> None:
        os.close(self.kept)


class StillStarter:
    """Starts workers that say nothing, and notes how long they were given."""

    unfit = ""

    def __init__(self) -> None:
        self.processes: list[StillProcess] = []
        self.postponed = 0.0

    def is_ready(self, now: float) -> bool:
        del now
        return True

    def start(self, consumer: str, queues: Sequence[str], status_descriptor: int) -> StillProcess:
        del consumer, queues
        self.processes.append(StillProcess(status_descriptor))
        return self.processes[-1]

    def turn(self, now: float) -> None: ...

    def next_deadline(self) -> float:
        return float("inf")

    def postpone(self, seconds: float) -> None:
        self.postponed += seconds

    def reaped(self) -> None: ...

    def close(self) -> None: ...


class StoppedClock:
    """A clock that `stand_still` moves: the process got no processor time meanwhile."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds

    def stand_still(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    clock = StoppedClock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, sleep=time.sleep))
    return clock


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch) -> Iterator[StillStarter]:
    starter = StillStarter()
    monkeypatch.setattr(Fleet, "_choose_starter", lambda *_: starter)
    yield starter
    for process in starter.processes:
        process.close()


@pytest.fixture
def fleet(clock: StoppedClock, starter: StillStarter) -> Iterator[Fleet]:
    del clock, starter
    fleet = Fleet([["q"]], "s", {}, "spawn", Limits(), PoolMetrics(), _ignore, _ignore, _ignore)
    yield fleet
    for child in fleet.children():
        child.reader.close()


def _ignore(*_: object) -> None: ...


def _stand_still_between_turns(fleet: Fleet, clock: StoppedClock, _: pytest.MonkeyPatch) -> None:
    del fleet
    clock.stand_still(START_SECONDS)


def _stand_still_after_messages(fleet: Fleet, clock: StoppedClock, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fleet, "_log_started", lambda: clock.stand_still(START_SECONDS))


def _stand_still_in_a_wait(fleet: Fleet, clock: StoppedClock, patch: pytest.MonkeyPatch) -> None:
    def select(seconds: float) -> list[object]:
        clock.stand_still(START_SECONDS + seconds)
        return []

    patch.setattr(fleet._selector, "select", select)


@pytest.mark.parametrize("stand", [_stand_still_between_turns, _stand_still_after_messages, _stand_still_in_a_wait])
def test_a_pause_of_the_supervisor_moves_all_deadlines_wherever_it_falls(
    fleet: Fleet,
    clock: StoppedClock,
    starter: StillStarter,
    monkeypatch: pytest.MonkeyPatch,
    stand: Callable[[Fleet, StoppedClock, pytest.MonkeyPatch], None],
) -> None:
    fleet.turn(0.0)
    (child,) = fleet.children()
    before = child.deadline
    with monkeypatch.context() as patch:
        stand(fleet, clock, patch)
        fleet.turn(0.5)
    assert (child.killed, starter.processes[0].signals) == (None, [])
    assert child.deadline == pytest.approx(before + START_SECONDS, abs=4)
    assert starter.postponed == pytest.approx(START_SECONDS, abs=4)


def test_a_worker_that_is_silent_while_the_supervisor_runs_is_killed(
    fleet: Fleet, clock: StoppedClock, starter: StillStarter
) -> None:
    fleet.turn(0.0)
    (child,) = fleet.children()
    while child.killed is None and clock.seconds <= START_SECONDS:
        clock.stand_still(4.0)
        fleet.turn(0.0)
    assert child.killed is not None
    assert clock.seconds == pytest.approx(START_SECONDS, abs=4)
    assert starter.postponed == 0
