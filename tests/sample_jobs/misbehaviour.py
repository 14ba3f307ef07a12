"""What the job `misbehaving` does to its worker, by symbol, and a job that looks for what it left behind."""

import decimal
import gc
import locale
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import structlog
from psycopg.types.string import TextLoader

from streamworkers.database import Connection
from streamworkers.engine.job import Context
from streamworkers.engine.outcome import Completed, Event, Failed, Item, Outcome
from streamworkers.errors import StopRunError

HUGE = 2_000_000


class OwnError(BaseException):
    """An error that is no Exception."""


def fork() -> int:
    """Fork, without the warning that threads give a reason for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _raise(error: BaseException) -> Callable[[Item, Context[Any]], Iterator[Outcome]]:
    def act(item: Item, context: Context[Any]) -> Iterator[Outcome]:
        del context
        yield Completed(item)  # nothing of a call that raises counts, not even this
        raise error

    return act


def _complete(result: dict[str, Any]) -> Callable[[Item, Context[Any]], Iterator[Outcome]]:
    return lambda item, _: iter([Completed(item, item.symbol, result)])


def _fail_run(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    del context
    return iter([Failed(item, "nobody has a key", stops_run=True)])


def _twice(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    del context
    return iter([Completed(item, item.symbol), Completed(item, item.symbol)])


def _recurse(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    return iter([*_recurse(item, context)])


def _use_up_memory(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    del context
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**31, hard))
    return iter([Completed(item, bytearray(2**33))])


def _tally(key: Any, count: Any) -> Callable[[Item, Context[Any]], Iterator[Outcome]]:
    def act(item: Item, context: Context[Any]) -> Iterator[Outcome]:
        context.tallies[key] = count
        return iter([Completed(item, item.symbol)])

    return act


def _end_own_session(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    context.connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return iter([Completed(item, item.symbol)])


def _leave_a_session(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    """Leave behind what a session and a connection can keep, apart from a transaction."""
    connection = context.connection
    for statement in (
        "LISTEN misbehaving",
        "PREPARE misbehaving AS SELECT 1",
        "CREATE TEMP TABLE misbehaving (id bigint)",
        "SELECT pg_advisory_lock(4711)",
        "SET ROLE pg_read_all_data",
        "SET TIME ZONE 'Asia/Tokyo'",
        "SET statement_timeout = 1",
    ):
        connection.execute(statement)
    connection.add_notice_handler(lambda _: os._exit(9))
    connection.add_notify_handler(lambda _: os._exit(9))
    connection.adapters.register_loader("int8", TextLoader)
    connection.prepare_threshold = None
    connection.row_factory = psycopg.rows.dict_row  # type: ignore[assignment]
    return iter([Completed(item, item.symbol)])


def _deallocate(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    """Drop the statements that psycopg prepared, its own ones of the pool among them."""
    for _ in range(10):
        context.connection.execute("SELECT 1 + %s", (1,))
    context.connection.execute("DEALLOCATE ALL")
    return iter([Completed(item, item.symbol)])


def _leave_a_process(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    """Leave behind what a process can keep."""
    del context
    os.chdir(tempfile.gettempdir())
    os.environ["MISBEHAVING"] = "1"
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    os.umask(0o777)
    socket.setdefaulttimeout(0.001)
    decimal.getcontext().prec = 3
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C")
    sys.setrecursionlimit(400)
    gc.disable()
    warnings.filterwarnings("error", message="misbehaving")
    logging.getLogger().setLevel(logging.DEBUG)
    structlog.configure(context_class=OrderedDict)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    sys.stderr = None
    return iter([Completed(item, item.symbol)])


def _leave_an_alarm(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    """Let a signal arrive later that ends the process."""
    del context
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    return iter([Completed(item, item.symbol)])


def _leave_a_thread(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    """Leave a thread behind that writes with the worker's connection as long as it can."""

    def use() -> None:
        try:
            while True:
                context.connection.execute("SELECT 1")
        except RuntimeError as error:
            thread_errors.append(str(error))

    threading.Thread(target=use, daemon=True).start()
    return iter([Completed(item, item.symbol)])


def _log(item: Item, context: Context[Any]) -> Iterator[Outcome]:
    """Log in each way that there is, in the item's turn and in a thread."""
    del context
    structlog.get_logger().info("by structlog", symbol="ITS OWN")
    try:
        raise ValueError("by itself")
    except ValueError:
        logging.getLogger("desk").exception("by %s of redis://me:hunter2@host", "logging")
    logging.getLogger("httpx").info("with a token")
    print("by print,", "one line")
    print("by standard error", file=sys.stderr)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("by a warning", stacklevel=1)
    print("without an end", end="")
    thread = threading.Thread(target=lambda: print("by a thread"))
    thread.start()
    thread.join()
    return iter([Completed(item, item.symbol)])


thread_errors: list[str] = []
EXECUTE: Mapping[str, Callable[[Item, Context[Any]], Iterator[Outcome]]] = {
    "HALF_WAY": _raise(ValueError("half way")),
    "INTERRUPTED": _raise(KeyboardInterrupt("by hand")),
    "GENERATOR_EXIT": _raise(GeneratorExit("early")),
    "OWN_BASE_EXCEPTION": _raise(OwnError("no Exception")),
    "FAIL_RUN": _fail_run,
    "RAISE_RUN": _raise(StopRunError("nobody has a key")),
    "TWICE": _twice,
    "RECURSES": _recurse,
    "NO_MEMORY": _use_up_memory,
    "UNKNOWN_TALLY": _tally(("nothing",), 1),
    "TALLY_NO_NUMBER": _tally(("sample_things", "red"), -1),
    "HUGE_RESULT": _complete({"text": "x" * HUGE}),
    "RESULT_NO_JSON": _complete({"thing": object()}),
    "RESULT_NUL": _complete({"text": "\x00"}),
    "RESULT_NO_DICT": _complete([1]),  # type: ignore[arg-type]
    "HUGE_ERROR": _raise(ValueError("x" * 10 * HUGE)),
    "SECRET": _raise(KeyError("postgresql://me:hunter2@host/db?password=hunter2")),
    "ENDS_SESSION": _end_own_session,
    "LEAVES_A_SESSION": _leave_a_session,
    "DEALLOCATES": _deallocate,
    "LEAVES_A_PROCESS": _leave_a_process,
    "LEAVES_AN_ALARM": _leave_an_alarm,
    "LEAVES_A_THREAD": _leave_a_thread,
    "LOGS": _log,
}


def _save_raise(error: BaseException) -> Callable[[Connection], Iterable[Event]]:
    def act(connection: Connection) -> Iterable[Event]:
        del connection
        raise error

    return act


def _save_hang(connection: Connection) -> Iterable[Event]:
    del connection
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    while True:
        time.sleep(60)


def _save_fork(child: Callable[[], object]) -> Callable[[Connection], Iterable[Event] | None]:
    def act(connection: Connection) -> None:
        del connection
        if fork() == 0:
            child()

    return act


def _save_statement(statement: LiteralString) -> Callable[[Connection], None]:
    def act(connection: Connection) -> None:
        connection.execute(statement)

    return act


def _save_exit(code: int) -> None:
    os._exit(code)


def _fork_failed() -> None:
    raise RuntimeError("a child of save")


SAVE: Mapping[str, Callable[[Connection], Iterable[Any] | None]] = {
    "LOGS": lambda _: print("by save"),
    "SAVE_INTERRUPTED": _save_raise(KeyboardInterrupt("by hand")),
    "SAVE_HANGS": _save_hang,
    "SAVE_EXIT_0": lambda _: sys.exit(0),
    "SAVE_OS_EXIT_0": lambda _: _save_exit(0),
    "SAVE_SIGKILL": lambda _: signal.raise_signal(signal.SIGKILL),
    "SAVE_FORKS": _save_fork(lambda: None),
    "SAVE_FORK_AND_RAISE": _save_fork(_fork_failed),
    "SAVE_HUGE_EVENT": lambda _: [Event("tests.effects", {"text": "x" * HUGE})],
    "SAVE_NO_EVENT": lambda _: ["an event"],
    "SAVE_EVENT_NUL": lambda _: [Event("tests.effects", {"text": "\x00"})],
    "SAVE_NOTHING_ITERABLE": lambda _: 7,  # type: ignore[dict-item,return-value]
    "SAVE_ENDS": _save_statement(" rollback"),
    "SAVE_COMMITS": _save_statement("COMMIT; SELECT 1"),
    "SAVE_ENDS_UNSEEN": _save_statement("SELECT 1; ROLLBACK"),
}


def find_leftovers(connection: Connection) -> list[str]:
    """What an earlier run left in the session or in the process; empty if nothing."""
    found = [
        name
        for name, statement in {
            "LISTEN": "SELECT count(*) FROM pg_listening_channels()",
            "PREPARE": "SELECT count(*) FROM pg_prepared_statements WHERE name = 'misbehaving'",
            "temporary table": "SELECT count(*) FROM pg_class WHERE relname = 'misbehaving'",
            "advisory lock": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711",
            "role": "SELECT (current_user = 'pg_read_all_data')::int",
            "statement_timeout": "SELECT (current_setting('statement_timeout') = '1ms')::int",
            "time zone": "SELECT (current_setting('TimeZone') = 'Asia/Tokyo')::int",
        }.items()
        if connection.execute(statement).fetchone() != (0,)
    ]
    connection.execute("DO $$ BEGIN RAISE NOTICE 'heard?'; END $$")
    process = {
        "folder": str(Path.cwd()) == os.path.realpath(tempfile.gettempdir()),
        "environment": "MISBEHAVING" in os.environ or time.tzname[0] == "JST",
        "umask": os.umask(0o22) == 0o777,
        "socket timeout": socket.getdefaulttimeout() is not None,
        "decimal": decimal.getcontext().prec == 3,
        "recursion limit": sys.getrecursionlimit() == 400,
        "gc": not gc.isenabled(),
        "warnings": any("misbehaving" in str(each[1]) for each in warnings.filters),
        "logging": logging.getLogger().level == logging.DEBUG,
        "structlog": structlog.get_config()["context_class"] is OrderedDict,
        "SIGTERM": signal.getsignal(signal.SIGTERM) is signal.SIG_IGN,
        "SIGCHLD": signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN,
        "mask": signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        "timer": signal.getitimer(signal.ITIMER_VIRTUAL) != (0.0, 0.0),
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64,
        "stderr": sys.stderr is None,
    }
    return found + [name for name, left in process.items() if left]
