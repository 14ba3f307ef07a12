"""Jobs for tests and benchmarks, found as those of any installed package: by an entry point."""

import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import psutil
import psycopg
from misbehaviour import EXECUTE, SAVE, find_leftovers
from pydantic import field_validator

from streamworkers.database import Connection
from streamworkers.engine.job import Context, ItemKind, Job, JobCounter, JobParameters, RunRequest
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome, Snoozed
from streamworkers.errors import BadInputError, PermanentError


class Noop(Job[JobParameters]):
    """Does nothing, to measure the pool alone."""

    name: ClassVar[str] = "noop"
    queue: ClassVar[str] = "bench"
    batch_size: ClassVar[int] = 200

    def execute(self, items: Sequence[Item], context: Context[JobParameters]) -> list[Outcome]:
        return [Completed(item) for item in items]


class LedgerEntryParameters(JobParameters):
    """Milliseconds that each item takes, and a file: while it is there, an item from a number on does not end."""

    milliseconds: float = 0.0
    hold: str = ""
    hold_from: int = 0


class LedgerEntry(Job[LedgerEntryParameters]):
    """Writes one row an item into `effects`, without a key that would hide a second one, and one event."""

    name: ClassVar[str] = "ledger_entry"
    queue: ClassVar[str] = "tests"
    batch_size: ClassVar[int] = 20
    parameters: ClassVar[type[JobParameters]] = LedgerEntryParameters

    def execute(self, items: Sequence[Item], context: Context[LedgerEntryParameters]) -> Iterator[Outcome]:
        for item in items:
            time.sleep(context.parameters.milliseconds / 1000)
            _hold(item.symbol, context.parameters)
            yield Completed(item, item.symbol, {"length": len(item.symbol)})

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        connection.cursor().executemany(
            "INSERT INTO effects (run_id, symbol) VALUES (%s, %s)",
            [(outcome.item.run_id, outcome.item.symbol) for outcome in completed],
        )
        return [Event("tests.effects", {"symbol": outcome.item.symbol}) for outcome in completed]


def _hold(symbol: str, parameters: LedgerEntryParameters) -> None:
    """Wait with items such as S0100 until the test has done what the run shall meet."""
    if parameters.hold and int(symbol[1:]) >= parameters.hold_from:
        deadline = time.monotonic() + 600
        while Path(parameters.hold).exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{parameters.hold} is still there")
            time.sleep(0.01)


class Misbehaving(LedgerEntry):
    """Does what its symbol says.

    Known are those of `misbehaviour.py`, and RAISE, HANG, STOP, FORK_AND_DIE, EXIT, SIGKILL, WAIT_FOR_CANCEL,
    PERMANENT, SAVE_RAISES, BAD_TEXT, BAD_EVENT, NAIVE_SNOOZE, NOT_AN_OUTCOME and NO_OUTCOME; any other symbol is done
    as it should be. Every execution of an item is a line in the file SAMPLE_JOBS_EXECUTIONS, if it is set.
    """

    name: ClassVar[str] = "misbehaving"
    timeout_seconds: ClassVar[float] = float(os.environ.get("SAMPLE_JOBS_TIMEOUT_SECONDS", "3"))
    counters: ClassVar[tuple[JobCounter, ...]] = (JobCounter("sample_things", "Things", ("colour",)),)

    def execute(self, items: Sequence[Item], context: Context[LedgerEntryParameters]) -> Iterator[Outcome]:
        for item in items:
            write_down(item)
            if item.symbol in EXECUTE:
                yield from EXECUTE[item.symbol](item, context)
                continue
            match item.symbol:
                case "RAISE":
                    raise ValueError(f"{item.symbol} cannot be computed")
                case "HANG":
                    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
                    while True:
                        time.sleep(60)
                case "STOP" if item.attempt == 1:
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "FORK_AND_DIE":
                    _fork_and_die()
                case "WAIT_FOR_CANCEL":
                    deadline = time.monotonic() + 600
                    while not context.cancelled and time.monotonic() < deadline:
                        time.sleep(0.02)
                case "EXIT":
                    os._exit(3)
                case "EXIT_0":
                    sys.exit(0)
                case "FORK_TWICE":
                    _fork()
                case "FORK_AND_RAISE":
                    if _fork() == 0:
                        raise RuntimeError("a child of the handler")
                case "FORK_AND_EXIT":
                    if _fork() == 0:
                        sys.exit(3)
                case "CLOSES":
                    context.connection.close()
                case "OTHER_DATABASE":
                    raise psycopg.OperationalError("my other database is away")
                case "CLOSED_CURSOR":
                    _use_closed_cursor(context.connection)
                case "DEADLOCKS":
                    raise psycopg.errors.DeadlockDetected("deadlock of my own")
                case "LEAVES_A_MESS":
                    _leave_a_mess(context.connection)
                case "WRONG_ITEM":
                    yield Completed(item._replace(run_id=item.run_id + 1), item.symbol)
                    continue
                case "SIGKILL":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "KILL_PARENT":
                    os.kill(os.getppid(), signal.SIGKILL)
                    time.sleep(60)
                case "PERMANENT":
                    raise PermanentError("no such thing")
                case "BAD_TEXT":
                    raise ValueError("nul \x00 and half \ud800")
                case "NAIVE_SNOOZE":
                    yield Snoozed(item, datetime(2026, 1, 1))  # noqa: DTZ001  # that is the misbehaviour
                    continue
                case "NOT_AN_OUTCOME":
                    yield "done"  # type: ignore[misc]
                    continue
                case "NO_OUTCOME":
                    continue
            yield Completed(item, item.symbol)

    def save(self, connection: Connection, completed: Sequence[Completed]) -> Iterable[Event]:
        symbols = {outcome.item.symbol for outcome in completed}
        for symbol in symbols & SAVE.keys():
            if (events := SAVE[symbol](connection)) is not None:
                return events
        if "SAVE_RAISES" in symbols:
            connection.execute("INSERT INTO effects (run_id, symbol) VALUES (1, NULL)")
        if "SAVE_SWALLOWS" in symbols:
            with suppress(psycopg.Error):
                connection.execute("SELECT 1 / 0")
            return []
        if "SAVE_CLOSED_CURSOR" in symbols:
            _use_closed_cursor(connection)
        if "SAVE_OTHER_DATABASE" in symbols:
            raise psycopg.OperationalError("my other database is away")
        if "SAVE_CLOSES" in symbols:
            connection.close()
        if any(outcome.item.symbol == "BAD_EVENT" for outcome in completed):
            return [Event("x", [1])]  # type: ignore[arg-type]
        return super().save(connection, completed)


def _use_closed_cursor(connection: Connection) -> None:
    cursor = connection.cursor()
    cursor.close()
    cursor.execute("SELECT 1")


def _leave_a_mess(connection: Connection) -> None:
    """Change all that a session can keep, and leave a transaction open."""
    connection.execute("SET search_path TO nowhere")
    connection.execute("SELECT pg_advisory_lock(4711)")
    connection.execute("CREATE TEMP TABLE runs (id bigint)")
    connection.execute("SET default_transaction_read_only TO on")
    connection.read_only = True
    connection.autocommit = False
    connection.execute("SELECT 1")


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _fork_and_die() -> None:
    """Leave a process behind that has our pipes open, for a few seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if os.fork() == 0:
            signal.alarm(5)
            signal.pause()
    os.kill(os.getpid(), signal.SIGKILL)


def write_down(item: Item) -> None:
    """Record the start of an execution, so that it outlives the process."""
    if path := os.environ.get("SAMPLE_JOBS_EXECUTIONS"):
        with Path(path).open("a", encoding="utf-8") as executions:
            executions.write(f"{item.run_id} {item.symbol}\n")


class Inspecting(LedgerEntry):
    """An honest job that fails if an earlier run left anything behind in its worker."""

    name: ClassVar[str] = "inspecting"

    def execute(self, items: Sequence[Item], context: Context[LedgerEntryParameters]) -> Iterator[Outcome]:
        for item in items:
            if found := find_leftovers(context.connection):
                raise PermanentError(f"left behind: {', '.join(found)}")
            time.sleep(context.parameters.milliseconds / 1000)
            yield Completed(item, item.symbol)


class Stopping(Misbehaving):
    """Misbehaves with much time."""

    name: ClassVar[str] = "stopping"
    timeout_seconds: ClassVar[float] = 60.0


class Flaky(LedgerEntry):
    """Fails in the first attempt and succeeds in the second."""

    name: ClassVar[str] = "flaky"

    def execute(self, items: Sequence[Item], context: Context[LedgerEntryParameters]) -> Iterator[Outcome]:
        for item in items:
            yield Failed(item, "not yet") if item.attempt == 1 else Completed(item, item.symbol)


class ChoosingParameters(LedgerEntryParameters):
    """What `prepare` does, and the keys that it chooses."""

    do: str = "choose"
    chosen: tuple[str, ...] = ()
    even: int = 0

    @field_validator("even")
    @classmethod
    def _is_even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("it is odd")
        return value


class Choosing(LedgerEntry):
    """Its `prepare` does what its parameter `do` says; the items have ids, not symbols."""

    name: ClassVar[str] = "choosing"
    item_kind: ClassVar[ItemKind] = "id"
    parameters: ClassVar[type[JobParameters]] = ChoosingParameters

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        parameters = ChoosingParameters.model_validate(request.parameters or {})
        match parameters.do:
            case "choose":
                return request.with_keys((*request.keys, *parameters.chosen))
            case "nothing":
                return request.nothing_to_do("no delivery waits")
            case "none":
                return request.with_keys(())
            case "raise":
                raise ValueError("a fault of the job")
            case "reject":
                raise BadInputError("the parameter do is not to my liking")
            case "exit":
                sys.exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "close":
                connection.close()
            case "mess":
                _leave_a_mess(connection)
            case "sleep":
                connection.execute("SELECT pg_sleep(600)")
            case "nul":
                return replace(request, parameters={"chosen": ["\x00"]}).with_keys(["A"])
            case "wrong":
                return None  # type: ignore[return-value]
        return request.with_keys(["A"])


class SnoozingParameters(LedgerEntryParameters):
    """The moment from which items are done, as Unix seconds."""

    ready_at: float = 0.0


class Snoozing(LedgerEntry):
    """Puts itself off until a moment."""

    name: ClassVar[str] = "snoozing"
    parameters: ClassVar[type[JobParameters]] = SnoozingParameters

    def execute(self, items: Sequence[Item], context: Context[LedgerEntryParameters]) -> Iterator[Outcome]:
        assert isinstance(context.parameters, SnoozingParameters)
        ready_at = datetime.fromtimestamp(context.parameters.ready_at, UTC)
        for item in items:
            if datetime.now(UTC) < ready_at:
                yield Snoozed(item, ready_at + timedelta(milliseconds=50))
            else:
                yield Completed(item, item.symbol)


class FreezingParameters(LedgerEntryParameters):
    """The file that `prepare` makes before it stops its process; it does so once."""

    stop_file: str = ""


class Freezing(LedgerEntry):
    """Stops its process in `prepare`, in a transaction that has made a run already."""

    name: ClassVar[str] = "freezing"
    parameters: ClassVar[type[JobParameters]] = FreezingParameters

    def prepare(self, connection: Connection, request: RunRequest) -> RunRequest:
        stop_file = (request.parameters or {}).get("stop_file")
        row = connection.execute(
            "SELECT count(*) FROM runs WHERE schedule_id = %s", (request.origin.schedule_id,)
        ).fetchone()
        if stop_file and row != (0,) and not Path(stop_file).exists():
            Path(stop_file).write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGSTOP)
        return request


class LeavingParameters(LedgerEntryParameters):
    """A folder that takes the process id of each process that is left behind, in a file of its own."""

    folder: str = "."


class Leaving(Misbehaving):
    """Leaves processes behind, as the first word of its symbol says, and then does what the second one says.

    CHILD is a child, FAMILY a child with children, DAEMON a grandchild in a session of its own, POOL processes that are
    started again when they end. CHECK is none, but fails if the worker has any.
    """

    name: ClassVar[str] = "leaving"
    batch_size: ClassVar[int] = 1
    parameters: ClassVar[type[JobParameters]] = LeavingParameters

    def execute(self, items: Sequence[Item], context: Context[LedgerEntryParameters]) -> Iterator[Outcome]:
        assert isinstance(context.parameters, LeavingParameters)
        for item in items:
            kind, _, end = item.symbol.partition("-")
            folder = Path(context.parameters.folder)
            noted = len(list(folder.iterdir()))
            match kind:
                case "CHILD":
                    _note(folder, subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
                case "FAMILY":
                    script = 'for n in 1 2; do sleep 600 & echo > "$0/$!"; done; echo > "$0/$$"; wait'
                    subprocess.Popen(["sh", "-c", script, str(folder)])
                    _wait_for_files(folder, noted + 3)
                case "DAEMON":
                    _start_daemon(folder)
                    _wait_for_files(folder, noted + 1)
                case "POOL":
                    _left_pools.append(multiprocessing.get_context("fork").Pool(2))
                case "CHECK":
                    assert psutil.Process().children(recursive=True) == []
            yield from super().execute([item._replace(symbol=end)], context)


class LeavingLong(Leaving):
    """Leaves processes behind with much time."""

    name: ClassVar[str] = "leaving_long"
    timeout_seconds: ClassVar[float] = 60.0


_left_pools: list[Any] = []


def _note(folder: Path, pid: int) -> None:
    (folder / str(pid)).touch()


def _wait_for_files(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 600
    while len(list(folder.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.01)


def _start_daemon(folder: Path) -> None:
    """Start a process as a daemon does: a grandchild of a child that ends, in a session of its own."""
    if (pid := _fork()) == 0:
        os.setsid()
        if _fork() == 0:
            _note(folder, os.getpid())
            os.execvp("sleep", ["sleep", "600"])
        os._exit(0)
    os.waitpid(pid, 0)


class Computing(LedgerEntry):
    """Computes in processes of its own, in the way that its symbol names, and waits for them.

    RANDOM instead returns the next numbers of the generators that processes share by name, and GROW takes memory.
    """

    name: ClassVar[str] = "computing"
    batch_size: ClassVar[int] = 1

    def execute(self, items: Sequence[Item], context: Context[LedgerEntryParameters]) -> Iterator[Outcome]:
        for item in items:
            way = item.symbol.partition("-")[0]
            result: dict[str, Any] = {}
            match way:
                case "SUBPROCESS":
                    subprocess.run([sys.executable, "-c", "pass"], check=True)
                case "EXECUTOR":
                    with ProcessPoolExecutor(2) as executor:
                        assert list(executor.map(math.sqrt, [4.0, 9.0])) == [2.0, 3.0]
                case "RANDOM":
                    import numpy  # loaded already where the product's jobs are; others need not wait for it

                    result = {"python": random.random(), "numpy": float(numpy.random.random())}
                case "GROW":
                    grown = bytearray(os.urandom(1) * 300_000_000)
                    time.sleep(600)
                    del grown
                case method:
                    _square_in(method)
            yield Completed(item, item.symbol, result)


def _square_in(method: str) -> None:
    """Compute with a pool, and with a lock that processes share, in one of the contexts of multiprocessing."""
    context: Any = multiprocessing.get_context(method)
    lock = context.Lock()
    with lock, context.Pool(2) as pool:
        assert pool.map(math.sqrt, [4.0, 9.0]) == [2.0, 3.0]
    process = context.Process(target=math.sqrt, args=(4.0,), daemon=True)
    process.start()
    process.join()
    assert process.exitcode == 0


class Needing(LedgerEntry):
    """Does what it does only where two environment variables are set."""

    name: ClassVar[str] = "needing"
    required_settings: ClassVar[tuple[str, ...]] = ("SAMPLE_JOB_URL", "SAMPLE_JOB_KEY")
