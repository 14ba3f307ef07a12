"""Jobs of the chaos run. The first word of a symbol says what its item does; executions are recorded in files.

Every execution leaves two lines in a file of its process, `CHAOS_EVIDENCE/PID`: `S run seq attempt seconds` when it
starts, `E run seq attempt seconds` when it returns or raises. They are written at once, so that they survive SIGKILL.
Seconds are those of the machine's monotonic clock, which all its processes share.
"""

import os
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import psycopg

from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome, Snoozed

EVIDENCE_VARIABLE = "CHAOS_EVIDENCE"


class ChaosParameters(JobParameters):
    """Milliseconds of a normal item; a slow one takes eight times as long, a busy one three times."""

    milliseconds: float = 5.0


class Mixed(Job[ChaosParameters]):
    """Small batches of everything: FAST, SLOW, BUSY, FLAKY, SNOOZE, what is poisonous, and what leaves a mess."""

    name: ClassVar[str] = "chaos_mixed"
    queue: ClassVar[str] = "chaos"
    batch_size: ClassVar[int] = 10
    timeout_seconds: ClassVar[float] = 2.0 * min(4.0, float(os.environ.get("TEST_PATIENCE", "1")))
    parameters: ClassVar[type[JobParameters]] = ChaosParameters

    def execute(self, items: Sequence[Item], context: Context[ChaosParameters]) -> Iterator[Outcome]:
        for item in items:
            _write_down("S", item)
            try:
                outcome = _behave(item, context)
            finally:
                _write_down("E", item)
            yield outcome

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        words = {outcome.item.symbol.partition("-")[0] for outcome in completed}
        for word in words:
            _misbehave_in_save(word, connection)
        if "SWALLOW" in words:
            return []
        connection.cursor().executemany(
            "INSERT INTO effects (run_id, seq, symbol, pid, attempt) VALUES (%s, %s, %s, %s, %s)",
            [(item.run_id, item.seq, item.symbol, os.getpid(), item.attempt) for item, *_ in completed],
        )
        return [Event("chaos.effects", {"run_id": item.run_id, "seq": item.seq}) for item, *_ in completed]


class Bulk(Mixed):
    """Large batches, in a queue of their own."""

    name: ClassVar[str] = "chaos_bulk"
    queue: ClassVar[str] = "chaos_bulk"
    batch_size: ClassVar[int] = 200
    timeout_seconds: ClassVar[float] = 30.0


class Long(Mixed):
    """Items that take longer than a lease, one at a time; `SLEEP` lasts until a cancel or its time ends it."""

    name: ClassVar[str] = "chaos_long"
    batch_size: ClassVar[int] = 1
    timeout_seconds: ClassVar[float] = 30.0


def _behave(item: Item, context: Context[ChaosParameters]) -> Outcome:
    seconds = context.parameters.milliseconds / 1000
    match item.symbol.partition("-")[0]:
        case "FAST":
            time.sleep(seconds)
        case "SLOW":
            time.sleep(8 * seconds)
        case "BUSY":
            _hold_the_interpreter(3 * seconds)
        case "SLEEP":
            deadline = time.monotonic() + 8 * seconds
            while not context.cancelled and time.monotonic() < deadline:
                time.sleep(0.02)
        case "FLAKY" if item.attempt == 1:
            return Failed(item, "not yet")
        case "SNOOZE" if int(time.time() * 2) % 2:
            return Snoozed(item, datetime.now(UTC) + timedelta(seconds=0.5))
        case word:
            _misbehave(word, item, context)
    return Completed(item)


def _misbehave(word: str, item: Item, context: Context[ChaosParameters]) -> None:
    match word:
        case "RAISE":
            raise ValueError(f"{item.symbol} cannot be computed")
        case "HANG":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            while True:
                time.sleep(60)
        case "KILL":
            os.kill(os.getpid(), signal.SIGKILL)
        case "EXIT0":
            sys.exit(0)
        case "FOREIGN":
            raise psycopg.OperationalError("my other database is away")
        case "SESSION":
            _leave_a_mess(context.connection)


def _misbehave_in_save(word: str, connection: Connection) -> None:
    match word:
        case "SAVECURSOR":
            cursor = connection.cursor()
            cursor.close()
            cursor.execute("SELECT 1")
        case "SWALLOW":
            with suppress(psycopg.Error):
                connection.execute("SELECT 1 / 0")
        case "FORK":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                os.fork()


def _leave_a_mess(connection: Connection) -> None:
    """Change the session and the process so that nothing works any more, and open a transaction."""
    connection.execute("CREATE TEMP TABLE runs (id bigint)")
    connection.execute("SELECT pg_advisory_lock(4711)")
    connection.execute("SET search_path TO nowhere")
    connection.execute("SET default_transaction_read_only TO on")
    connection.autocommit = False
    connection.execute("SELECT 1")
    os.environ.clear()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.2)


def _hold_the_interpreter(seconds: float) -> None:
    """Sort repeatedly, in calls that let no other thread run."""
    numbers = list(range(20_000, 0, -1))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sorted(numbers, key=hash)


def _write_down(mark: str, item: Item) -> None:
    line = f"{mark} {item.run_id} {item.seq} {item.attempt} {time.monotonic():.4f}\n"
    os.write(_evidence(), line.encode())


def _evidence() -> int:
    """The process's file, opened at its first item."""
    global _descriptor
    if _descriptor is None:
        path = Path(os.environ[EVIDENCE_VARIABLE]) / str(os.getpid())
        _descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    return _descriptor


_descriptor: int | None = None
