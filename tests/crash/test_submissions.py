"""Submitted runs under kill -9 of the clients that submit them and of the processes that prepare them."""

import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import Scheduler, wait_until
from streamworkers.database import Connection
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.preparer import MOST_ATTEMPTS
from submitting import install_jobs, load, reason_of, submit

CLIENT = Path(__file__).parent.parent / "submitting_client.py"
TRANSACTIONS = 1000
_CLIENT_KILLS = 5
_PREPARER_KILLS = 4

pytestmark = pytest.mark.timeout(400)


def _scheduler(stack: ExitStack, environment: dict[str, str], folder: Path) -> Scheduler:
    log = folder / f"scheduler-{time.monotonic_ns()}.log"
    scheduler = Scheduler(environment, log, ("--metrics-port", "0"))
    stack.callback(scheduler.kill_all)
    return scheduler


def _submit_all(url: str, rng: random.Random, ended: threading.Event) -> None:
    """Run the client to its end; it is killed a few times on the way, and goes on with the next number."""
    first = 1
    try:
        for left in range(_CLIENT_KILLS, -1, -1):
            words = [sys.executable, str(CLIENT), url, str(first), str(TRANSACTIONS)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
                assert client.stdout is not None
                stop_at = first + rng.randint(50, 150) if left else TRANSACTIONS + 1
                for line in client.stdout:
                    first = int(line) + 1
                    if int(line) >= stop_at:
                        client.kill()
            if first > TRANSACTIONS:
                return
    finally:
        ended.set()


def _wait_until_it_prepares(scheduler: Scheduler, ended: threading.Event) -> None:
    wait_until(lambda: scheduler.events("runs_prepared") or ended.is_set(), 60)


def _wait_until_it_is_killed(scheduler: Scheduler) -> None:
    wait_until(lambda: scheduler.process.poll() is not None, 60, "the process is killed")


def test_committed_runs_are_prepared_once_and_rolled_back_ones_never(
    connection: Connection, database_url: str, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    install_jobs(connection, registry)
    connection.execute("CREATE TABLE marks (number integer PRIMARY KEY)")
    rng, ended = random.Random(7), threading.Event()
    submitting = threading.Thread(target=_submit_all, args=(database_url, rng, ended))
    with ExitStack() as stack:
        steady, victim = (_scheduler(stack, environment, tmp_path) for _ in range(2))
        wait_until(lambda: steady.events("scheduler_started") and victim.events("scheduler_started"), 60)
        submitting.start()
        for _ in range(_PREPARER_KILLS):
            _wait_until_it_prepares(victim, ended)
            victim.kill_all()
            steady, victim = _scheduler(stack, environment, tmp_path), steady
        wait_until(ended.is_set, 120)
        submitting.join()
        # Entries that a killed process did not add are added by the reconciler of a supervisor; none runs here.
        waiting = "SELECT count(*) FROM runs WHERE prepared_at IS NULL"
        wait_until(lambda: connection.execute(waiting).fetchone() == (0,), 120, "all runs are prepared")
    marks = [number for (number,) in connection.execute("SELECT number FROM marks ORDER BY number")]
    assert len(marks) > TRANSACTIONS // 2 - 2 * _CLIENT_KILLS
    assert not any(number % 2 for number in marks)
    runs = connection.execute(
        "SELECT submit_key, item_count FROM runs ORDER BY substr(submit_key, 2)::integer"
    ).fetchall()
    assert runs == [(f"k{number}", 1) for number in marks]
    items = connection.execute(
        "SELECT i.symbol, r.submit_key FROM run_items i JOIN runs r ON r.id = i.run_id AND r.run_day = i.run_day"
        " ORDER BY substr(r.submit_key, 2)::integer"
    ).fetchall()
    assert items == [(f"S{number}", f"k{number}") for number in marks]
    assert connection.execute("SELECT count(*) FROM submissions").fetchone() == (len(marks),)


def test_a_prepare_that_kills_every_process_ends_its_own_run_alone(
    connection: Connection, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    install_jobs(connection, registry)
    guilty = submit(connection, "choosing", parameters={"do": "kill"})
    others = [submit(connection, "ledger_entry", symbols=["A"]) for _ in range(5)]
    with ExitStack() as stack:
        for _ in range(MOST_ATTEMPTS):
            _wait_until_it_is_killed(_scheduler(stack, environment, tmp_path))
        _scheduler(stack, environment, tmp_path)
        wait_until(lambda: reason_of(connection, guilty)[0] == "FAILED", 60)
        wait_until(lambda: all(load(connection, each).is_enqueued for each in others), 60)
    assert reason_of(connection, guilty)[1] == f"prepare was called {MOST_ATTEMPTS} times and never returned"
