"""Loops repeat a turn until they are stopped, whatever fails; signals stop the loop of a main thread."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from harness import wait_until
from patience import patient
from streamworkers.engine.host import host as host_module
from streamworkers.engine.host.host import Host, stop_loops
from streamworkers.engine.host.loop import ConnectionLoop, Loop
from streamworkers.engine.host.signals import Signals


class _Counting(Loop):
    """Counts its turns and fails in the first of them."""

    def __init__(self, signals: Signals | None = None, failures: int = 0) -> None:
        super().__init__("counting", signals, longest_backoff_seconds=0.01)
        self.turns = 0
        self.errors: list[Exception] = []
        self._failures = failures

    def turn(self) -> None:
        self.turns += 1
        if self.turns <= self._failures:
            raise ValueError(self.turns)
        self.succeeded()
        self._stop_requested.wait(0.001)

    def log_error(self, error: Exception) -> None:
        self.errors.append(error)


def test_a_loop_goes_on_after_failures_until_it_is_stopped() -> None:
    loop = _Counting(failures=3)
    loop.start()
    wait_until(lambda: loop.turns > 5, 60)
    stop_loops([loop], 10)
    assert not loop.is_alive()
    assert len(loop.errors) == 3


def test_a_failing_loop_is_stopped_in_its_pause() -> None:
    loop = ConnectionLoop("away", _fail)
    loop.start()
    wait_until(lambda: loop.is_alive(), 60)
    stop_loops([loop], 10)
    assert not loop.is_alive()


def _fail(_keep_going: object) -> None:
    raise ConnectionError("away")


def test_a_connection_loop_connects_again_when_its_function_returns_or_raises() -> None:
    calls: list[int] = []

    def follow(keep_going: object) -> None:
        calls.append(1)
        assert callable(keep_going)
        while keep_going():
            if len(calls) < 3:
                raise ConnectionError("lost")
            threading.Event().wait(0.001)

    loop = ConnectionLoop("follower", follow)
    loop.start()
    wait_until(lambda: len(calls) == 3, 60)
    stop_loops([loop], 10)
    assert not loop.is_alive()


def test_loops_that_do_not_turn_are_named_after_their_longest_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "LIVE_SECONDS", 10.0)
    host = Host("scheduler")
    quick, slow = host.add(_Counting()), host.add(_Slow())
    assert host.not_live() == []
    quick.turned_at -= 11
    slow.turned_at -= 39
    assert host.not_live() == ["counting has not turned for 11 s"]
    slow.turned_at -= 2
    assert host.not_live() == ["counting has not turned for 11 s", "counting has not turned for 41 s"]


class _Slow(_Counting):
    @property
    def longest_pause_seconds(self) -> float:
        return 30.0


@pytest.fixture
def signals() -> Iterator[tuple[Signals, list[str]]]:
    """Signals of this process, with what the second one did."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    seconds: list[str] = []
    made = Signals(lambda: seconds.append("second"))
    made.install()
    yield made, seconds
    made.uninstall()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_first_signal_stops_the_main_loop_and_the_second_is_urgent(signals: tuple[Signals, list[str]]) -> None:
    made, seconds = signals
    assert not made.wait(0.0)
    loop = _Counting(made)

    def kill_turning_loop() -> None:
        wait_until(lambda: loop.turns > 0, 60)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=kill_turning_loop)
    killer.start()
    loop.run()
    killer.join()
    assert made.is_set()
    assert made.wait(patient(60.0))
    assert (made.is_urgent, seconds) == (False, [])
    os.kill(os.getpid(), signal.SIGINT)
    assert (made.is_urgent, seconds) == (True, ["second"])


def test_a_pause_of_the_main_loop_ends_with_the_signal() -> None:
    code = (
        "import os, signal, threading\n"
        "from streamworkers.engine.host.signals import Signals\n"
        "signals = Signals()\n"
        "signals.install()\n"
        "threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "print(signals.wait(50))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=patient(40), check=False
    )
    assert (answer.stdout, answer.stderr) == ("True\n", "")
