"""A failure lasts from its second time on, once it is old enough, and until its loop has worked."""

from types import SimpleNamespace

import pytest

from streamworkers.engine.host import failure_board
from streamworkers.engine.host.failure_board import FailureBoard, FailureCollector
from streamworkers.engine.host.loop import ConnectionLoop
from streamworkers.engine.redis.heartbeats import FaultStatus


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(failure_board, "time", SimpleNamespace(time=lambda: made.now))
    return made


def test_a_loop_keeps_failing_once_it_has_failed_again_and_for_long_enough(clock: SimpleNamespace) -> None:
    board = FailureBoard(60.0)
    board.record("promoter", "KeyError: 'a'")
    clock.now += 61
    assert board.lasting() == [], "its next turn may still run"
    board.record("pruner", "KeyError: 'b'")
    board.record("promoter", "KeyError: 'c'")
    board.record("pruner", "KeyError: 'b'")
    assert board.list_troubles() == ["promoter has kept failing for 61 s: KeyError: 'c'"]
    assert [each.as_status() for each in board.lasting()] == [
        FaultStatus("promoter", "", "error", "KeyError: 'c'", 1000.0)
    ]
    (family,) = FailureCollector(board, lambda: ("promoter", "pruner")).collect()
    assert {sample.labels["loop"]: sample.value for sample in family.samples} == {"promoter": 1.0, "pruner": 0.0}
    board.clear("promoter")
    board.clear("nobody")
    assert board.lasting() == []


def test_a_loop_that_connects_and_then_fails_has_not_worked() -> None:
    rounds: list[int] = []

    def follow(keep_going: object) -> None:
        assert callable(keep_going)
        keep_going()
        rounds.append(1)
        if len(rounds) == 4:
            keep_going()  # what it was for is done
            loop.stop()
        raise ValueError(len(rounds))

    loop = ConnectionLoop("follower", follow)
    loop.failures = FailureBoard(0.0)
    counts: list[int] = []
    record = loop.failures.record
    loop.failures.record = lambda who, text: (record(who, text), counts.append(len(loop.failures.lasting())))  # type: ignore[assignment,method-assign,func-returns-value]
    loop.run()
    assert counts == [0, 1, 1, 0], "only a round that was finished clears it"
