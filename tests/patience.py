"""How patient tests are: one number by which every deadline is multiplied.

It is how long a worker process takes to start here, against `NOMINAL_SECONDS`, and at least 1. It is measured when it
is first needed, with xdist once for all processes, and again before a deadline is said to have passed: a machine that
has become busy since then gets more time. `TEST_PATIENCE` sets it.

Two kinds of durations need it. A deadline (`patient`, `Deadline`) only says when to give up, so it may be far away. A
timing of the product (`paced`), such as a lease, is waited for by tests, so it grows less.
"""

import os
import subprocess
import sys
import time

VARIABLE = "TEST_PATIENCE"
NOMINAL_SECONDS = 0.5
MOST_PACE = 4.0
_WORKER = (sys.executable, "-m", "streamworkers.engine.worker.main", "--help")
_MEASURED_VARIABLE = "TEST_PATIENCE_WAS_MEASURED"


def patience() -> float:
    """The factor for deadlines, for this process and those that it starts."""
    if VARIABLE not in os.environ:
        _start_seconds()  # the first one compiles modules and fills the cache of files
        os.environ[_MEASURED_VARIABLE] = "1"
        _keep(max(_start_seconds(), _start_seconds()) / NOMINAL_SECONDS)
    return max(1.0, float(os.environ[VARIABLE]))


def patient(seconds: float) -> float:
    """A deadline of so many seconds on the nominal machine."""
    return seconds * patience()


def paced(seconds: float) -> float:
    """A timing of the product that a machine must be able to keep, in seconds on the nominal machine."""
    return round(seconds * min(patience(), MOST_PACE), 3)


class Deadline:
    """A moment that is so many nominal seconds away."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._began = time.monotonic()

    def has_passed(self) -> bool:
        """True when the time is over, however busy the machine is now."""
        if time.monotonic() - self._began < patient(self.seconds):
            return False
        measure_again()
        return time.monotonic() - self._began >= patient(self.seconds)


def measure_again() -> None:
    """Raise the factor when the machine is slower than it was, unless the factor was set by hand."""
    if _MEASURED_VARIABLE in os.environ:
        _keep(max(patience(), _start_seconds() / NOMINAL_SECONDS))


def _keep(factor: float) -> None:
    os.environ[VARIABLE] = f"{max(1.0, factor):.2f}"


def _start_seconds() -> float:
    began = time.monotonic()
    subprocess.run(_WORKER, check=True, capture_output=True)
    return time.monotonic() - began
