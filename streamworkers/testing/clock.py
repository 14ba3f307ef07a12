"""A clock that a test sets: what the code of a job sees as now, in the test and in workers.

It does not reach PostgreSQL and Redis, whose clocks decide on ticks, leases, retries and limits; nor what the pool
itself reads, nor `time.monotonic`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any

from streamworkers.errors import BadInputError, UsageError

VARIABLE = "SW_TESTING_CLOCK"


class JobClock:
    """The time that jobs see: it stands still at the moment to which a test sets it, and is the real one before."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._travel: Any = None

    def environment(self) -> dict[str, str]:
        """Return the variables that let a process see this clock, if `in_processes` is on its path."""
        return {VARIABLE: str(self._file)}

    def set(self, moment: datetime) -> None:
        """Stand still at a moment, which has a time zone, in this process and in the workers of the test's pools."""
        if moment.tzinfo is None:
            raise BadInputError(f"moment {moment} has no time zone")
        written = self._file.with_suffix(".new")
        written.write_text(moment.astimezone(UTC).isoformat(), encoding="utf-8")
        written.rename(self._file)  # so that it is never read half-written
        self._stop_travel()
        self._travel = _travel_to(moment)
        self._travel.start()

    def move(self, by: timedelta) -> None:
        """Go on by a time span."""
        self.set(self.now() + by)

    def now(self) -> datetime:
        """Return the moment at which the clock stands, or the real time if it was not set."""
        return _read(self._file) or datetime.now(UTC)

    def reset(self) -> None:
        """Show the real time again."""
        self._stop_travel()
        self._file.unlink(missing_ok=True)

    def _stop_travel(self) -> None:
        if self._travel is not None:
            self._travel.stop()
            self._travel = None


def arm_worker() -> None:
    """Let handlers and `save` of this worker process see the test's clock; called by `sitecustomize.py` alone."""
    if VARIABLE in os.environ:
        from streamworkers.engine.worker import commit, executor

        for module, name in ((executor, "execute_batch"), (commit, "_save")):
            _call_at_clock(module, name, Path(os.environ[VARIABLE]))


def arm_prepare() -> None:
    """Let `RunRequest.moment` see the test's clock in this supervisor, which has threads of its own besides."""
    if VARIABLE in os.environ:
        from streamworkers.engine.job import RunRequest

        real_moment, file = RunRequest.moment, Path(os.environ[VARIABLE])

        def moment(request: RunRequest) -> datetime:
            return real_moment(request) if request.origin.scheduled_for else _read(file) or real_moment(request)

        setattr(RunRequest, "moment", moment)  # noqa: B010  # a method


def _call_at_clock(module: Any, name: str, file: Path) -> None:
    function = getattr(module, name)

    @wraps(function)
    def call(*words: Any, **named: Any) -> Any:
        moment = _read(file)
        with nullcontext() if moment is None else _travelling(moment):
            return function(*words, **named)

    setattr(module, name, call)


@contextmanager
def _travelling(moment: datetime) -> Iterator[None]:
    travel = _travel_to(moment)
    travel.start()
    try:
        yield
    finally:
        travel.stop()


def _travel_to(moment: datetime) -> Any:
    try:
        import time_machine
    except ImportError:
        raise UsageError("a clock needs time-machine: pip install 'streamworkers[testing]'") from None
    return time_machine.travel(moment, tick=False)


def _read(file: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
