"""What is left of a call is ended, and nothing else; what starts again costs its worker."""

import subprocess
from collections.abc import Iterator
from datetime import date

import pytest

from streamworkers.engine.ledger import Run
from streamworkers.engine.worker.children import ChildEnder

RUN = Run(1, "job", "tests", "RUNNING", None, None, {}, date(2026, 3, 6), 3, 1, True)


def _sleep() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sleep", "600"])


@pytest.fixture
def earlier() -> Iterator["subprocess.Popen[bytes]"]:
    """A child that was there before the first call."""
    with _sleep() as process:
        yield process
        process.kill()


def test_only_what_a_call_has_started_ends_with_it(earlier: "subprocess.Popen[bytes]") -> None:
    given_up: list[bool] = []
    ender = ChildEnder(lambda: given_up.append(True))
    for _ in range(2):
        with ender.ending_children(RUN):
            left = _sleep()
            assert left.poll() is None
        assert left.wait(0) is not None
    assert earlier.poll() is None
    assert (given_up, ender.remain) == ([], False)


def test_what_a_call_that_raises_has_started_ends_too() -> None:
    with pytest.raises(ValueError, match="mine"), ChildEnder(lambda: None).ending_children(RUN):  # noqa: PT012
        left = _sleep()
        raise ValueError("mine")
    assert left.wait(0) is not None


def test_a_child_that_appears_between_two_calls_costs_the_worker() -> None:
    given_up: list[bool] = []
    ender = ChildEnder(lambda: given_up.append(True))
    with _sleep() as appeared:
        with ender.ending_children(RUN):
            assert appeared.poll() is not None
        assert (given_up, ender.remain) == ([True], True)
