"""The board of a process: what stands, since when, and how often it is logged."""

import time
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from streamworkers.engine.host import fault_board
from streamworkers.engine.host.fault_board import FaultBoard, StandingFault, list_troubles
from streamworkers.engine.host.fault_metrics import STOPPED, FaultCollector
from streamworkers.errors import FaultKind, Store
from streamworkers.faults import Fault

NOPERM = Fault(Store.REDIS, FaultKind.REJECTED, "Redis rejects: NOPERM")
AWAY = Fault(Store.REDIS, FaultKind.AWAY, "Redis does not answer: lost")
NO_RIGHT = Fault(Store.POSTGRESQL, FaultKind.REJECTED, "PostgreSQL rejects: InsufficientPrivilege")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(fault_board, "time", SimpleNamespace(time=made.time))
    monkeypatch.setattr(fault_board, "log", structlog.get_logger())
    return made


def test_a_fault_stands_since_it_began_until_it_is_cleared(clock: Clock) -> None:
    board = FaultBoard()
    board.record("promoter", AWAY)
    clock.now += 5
    board.record("promoter", AWAY)
    assert board.own() == [StandingFault("promoter", AWAY, 1000.0)]
    board.record("promoter", NOPERM)
    assert board.own() == [StandingFault("promoter", NOPERM, 1005.0)]
    board.clear("promoter")
    board.clear("promoter")
    assert board.own() == []


def test_it_is_logged_once_for_a_change_and_then_once_a_minute(clock: Clock) -> None:
    board = FaultBoard()
    with capture_logs() as logs:
        for _ in range(125):
            board.record("promoter", NOPERM)
            clock.now += 1
        board.clear("promoter")
    assert [(row["event"], row["kind"]) for row in logs] == [("store_fault", "rejected")] * 3 + [
        ("store_fault_ended", "rejected")
    ]
    assert logs[-1]["seconds"] == 125.0
    assert (logs[0]["who"], logs[0]["store"], logs[0]["error"]) == ("promoter", "redis", NOPERM.text)


def test_a_fault_that_comes_and_goes_is_logged_at_a_bounded_rate(clock: Clock) -> None:
    board = FaultBoard()
    with capture_logs() as logs:
        for _ in range(300):
            board.record("promoter", AWAY)
            clock.now += 0.1
            board.clear("promoter")
    assert 4 <= len([row for row in logs if row["event"] == "store_fault"]) <= 7
    assert len(logs) <= 14
    with capture_logs() as later:
        board.record("promoter", AWAY)
        clock.now += 6
        board.record("promoter", AWAY)
    assert [row["event"] for row in later] == ["store_fault"], "one that stays is logged all the same"


def test_troubles_are_a_line_for_each_store_and_kind_and_a_probe_comes_first(clock: Clock) -> None:
    board = FaultBoard()
    for name in ("promoter", "reclaimer"):
        board.record(name, NOPERM)
    board.record("outbox", NO_RIGHT)
    clock.now += 7
    board.add_source(lambda: [StandingFault(f"worker {number}", NOPERM, clock.now) for number in range(5)])
    assert list_troubles([None, AWAY], board.standing()) == [
        "Redis does not answer: lost",
        "Redis rejects: NOPERM (promoter, reclaimer, worker 0, worker 1, worker 2 and 2 more, for 7 s)",
        "PostgreSQL rejects: InsufficientPrivilege (outbox, for 7 s)",
    ]
    assert list_troubles([NOPERM], board.standing())[0] == NOPERM.text
    assert len(list_troubles([NOPERM], board.standing())) == 2
    assert list_troubles([None, None], []) == []


def test_the_metric_counts_who_is_stopped_by_store_and_kind() -> None:
    standing = [StandingFault(name, NOPERM, time.time()) for name in ("a", "b")]
    (family,) = FaultCollector(STOPPED, lambda: standing).collect()
    counts = {(sample.labels["store"], sample.labels["kind"]): sample.value for sample in family.samples}
    assert len(counts) == 6
    assert {labels: count for labels, count in counts.items() if count} == {("redis", "rejected"): 2}
