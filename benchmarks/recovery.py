"""How long work stops when a worker, a supervisor, a pool or the data of Redis is lost in the middle of a run.

Real pools of two workers, real signals. Times are measured from the fault, by the ledger's `started_at` and
`finished_at` and the pools' logs.

    worker      `kill -9` of a worker process: until its items are requeued, and, without a backlog, started elsewhere
                and completed. Target: 2 s. Behind a backlog they start in turn.
    supervisor  `kill -9` of a supervisor while another pool works: until its workers have ended (target: 2 s) and
                until their items are started elsewhere (target: the lease and 5 s).
    stop        SIGTERM in a run of 10,000 items: the exit code, the time to the end, the highest attempt; and how soon
                a pool that is started afterwards takes the rest. Then SIGTERM without grace to a pool that holds all
                items, while another waits: how soon that one starts the requeued items.
    flush       FLUSHALL: until the lost items are added again, the first of them completes, and the run does.

Usage:

    .venv/bin/python benchmarks/recovery.py [--faults NAME …] [--rounds N] [--lease-seconds N] [--json]
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import psutil

from bench_pool import (
    SAMPLE_JOBS,
    STOP_SECONDS,
    Bench,
    Figure,
    Pool,
    machine,
    positive,
    print_figures,
    private_services,
    running_pool,
    wait_for_run,
    wait_until,
)
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.registry import installed_jobs

QUEUE = "tests"
WORDS = ("--processes", "2", "--queue", QUEUE)
POLL_SECONDS = 0.002
WAIT_SECONDS = 60.0
HELD_SECONDS, CHILDREN_SECONDS, LEASE_EXTRA_SECONDS = 2.0, 2.0, 5.0
LARGEST_ENTRY = 1_048_576
Samples = dict[str, list[float]]


def main() -> None:
    """Cause each fault in every round, and print the table."""
    faults = {"worker": kill_worker, "supervisor": kill_supervisor, "stop": stop_pool, "flush": flush_redis}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", choices=list(faults), default=list(faults), help="all by default")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--lease-seconds", type=positive, default=30)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    samples: Samples = {}
    with private_services() as bench:
        about = machine(bench)
        for number in range(words.rounds):
            for name in words.faults:
                bench.empty()
                for what, value in faults[name](bench, words.lease_seconds).items():
                    samples.setdefault(f"{name}: {what}", []).append(value)
                print(f"round {number + 1}: {name} done", file=sys.stderr)
    print_figures(
        f"Seconds from a fault until work continues, lease {words.lease_seconds} s",
        [Figure(what, values, target_of(what, words.lease_seconds), digits=3) for what, values in samples.items()],
        ["each run ended COMPLETED with every effect exactly once, or the script would have stopped", about],
        as_json=words.json,
    )


def target_of(what: str, lease_seconds: float) -> float | None:
    """The target of a figure, if it has one."""
    targets = {
        "worker: held items requeued": HELD_SECONDS,
        "worker: last held item started": HELD_SECONDS,
        "worker: last held item completed": HELD_SECONDS,
        "supervisor: its workers ended": CHILDREN_SECONDS,
        "supervisor: last held item started": lease_seconds + LEASE_EXTRA_SECONDS,
        "stop: exit code": 0,
        "stop: highest attempt": 1,
        "stop: entries left pending": 0,
    }
    return targets.get(what)


def kill_worker(bench: Bench, lease_seconds: float) -> Mapping[str, float]:
    """`kill -9` of one of two workers in a long run, and of one while the other is idle."""
    run = start_run(bench, 800, milliseconds=5)
    with running_pool(bench, *WORDS, LEASE_SECONDS=lease_seconds) as pool:
        wait_until(lambda: completed(bench, run) >= 100, WAIT_SECONDS, "100 items done", POLL_SECONDS)
        ahead = bench.streams.inspector.read_backlog(QUEUE).waiting
        killed_at, held = kill_holder(bench, pool)
        finish(bench, run)
        (requeued, *_) = pool.events("entries_requeued")
        started, _ = times_of(bench, run, held, since=killed_at)
        # A worker that dies with items in hand is replaced at once; the other one is idle now.
        pool.wait_until_ready(bench, 2)
        small = start_run(bench, 8, milliseconds=100)
        wait_until(
            lambda: bench.streams.inspector.read_backlog(QUEUE).pending == 8, WAIT_SECONDS, "all in hand", POLL_SECONDS
        )
        small_killed_at, small_held = kill_holder(bench, pool)
        finish(bench, small)
        small_started, small_ended = times_of(bench, small, small_held, since=small_killed_at)
        stop_in_order(pool)
    return {
        "held items requeued": requeued["at"] - killed_at,
        "last held item started, behind a backlog": max(started) - killed_at,
        "  items in that backlog": float(ahead),
        "first held item started": min(small_started) - small_killed_at,
        "last held item started": max(small_started) - small_killed_at,
        "last held item completed": max(small_ended) - small_killed_at,
    }


def kill_supervisor(bench: Bench, lease_seconds: float) -> Mapping[str, float]:
    """`kill -9` of one of two supervisors."""
    run = start_run(bench, 2400, milliseconds=5)
    with (
        running_pool(bench, *WORDS, LEASE_SECONDS=lease_seconds) as pool,
        running_pool(bench, *WORDS, LEASE_SECONDS=lease_seconds) as other,
    ):
        wait_until(lambda: len(workers_at_work(bench, run)) == 4, WAIT_SECONDS, "all four workers at work")
        workers = pool.workers()
        killed_at = time.time()
        pool.process.kill()
        pool.process.wait()
        wait_until(lambda: not any(map(is_running, workers)), WAIT_SECONDS, "its workers end", POLL_SECONDS)
        workers_ended_at = time.time()
        held = {seq for consumer in workers.values() for seq in held_by(bench, consumer)}
        left = run_size(bench, run) - completed(bench, run) - len(held)
        wait_until(
            lambda: run_size(bench, run) - completed(bench, run) <= len(held), WAIT_SECONDS, "the others do the rest"
        )
        rest_done_at = time.time()
        finish(bench, run, WAIT_SECONDS + 2 * lease_seconds)
        started, ended = times_of(bench, run, held, since=killed_at)
        stop_in_order(other)
    return {
        "items held": float(len(held)),
        "items left to others": float(left),
        "its workers ended": workers_ended_at - killed_at,
        "all but the held items completed": rest_done_at - killed_at,
        "first held item started": min(started) - killed_at,
        "last held item started": max(started) - killed_at,
        "last held item completed": max(ended) - killed_at,
    }


def stop_pool(bench: Bench, lease_seconds: float) -> Mapping[str, float]:
    """SIGTERM in a large run with a pool started afterwards; SIGTERM while another pool waits."""
    run = start_run(bench, 10_000)
    with running_pool(bench, *WORDS, LEASE_SECONDS=lease_seconds) as pool:
        wait_until(lambda: completed(bench, run) >= 1000, WAIT_SECONDS, "1000 items done", POLL_SECONDS)
        stopped_at = time.time()
        code = stop_in_order(pool)
        gone_at = time.time()
    done, pending = completed(bench, run), bench.streams.inspector.read_backlog(QUEUE).pending
    if not done < run_size(bench, run):
        sys.exit("the run had ended before the pool was stopped; nothing was measured")
    next_at = time.time()
    with running_pool(bench, *WORDS, LEASE_SECONDS=lease_seconds) as following:
        finish(bench, run)
        row = bench.connection.execute(
            "SELECT max(attempt), min(started_at) FILTER (WHERE started_at > %s) FROM run_items WHERE run_id = %s",
            (moment(next_at), run.id),
        ).fetchone()
        assert row is not None
        stop_in_order(following)
    return {
        "exit code": float(code),
        "SIGTERM to exit": gone_at - stopped_at,
        "entries left pending": float(pending),
        "highest attempt": float(row[0]),
        "start of the next pool to its first item": row[1].timestamp() - next_at,
        **requeue_at_stop(bench, lease_seconds),
    }


def requeue_at_stop(bench: Bench, lease_seconds: float) -> Mapping[str, float]:
    """How soon a waiting pool starts the items that another pool, stopped without grace, requeues."""
    run = start_run(bench, 12, milliseconds=2000)
    with running_pool(bench, *WORDS, "--grace-seconds", "0", LEASE_SECONDS=lease_seconds) as pool:
        wait_until(
            lambda: bench.streams.inspector.read_backlog(QUEUE).pending == 12,
            WAIT_SECONDS,
            "everything taken",
            POLL_SECONDS,
        )
        with running_pool(bench, *WORDS, LEASE_SECONDS=lease_seconds) as waiting:
            return measure_requeue(bench, run, pool, waiting)


def measure_requeue(bench: Bench, run: Run, pool: Pool, waiting: Pool) -> Mapping[str, float]:
    """The times from the signal to `pool`, and from its requeue, to the first item that `waiting` starts."""
    waiting.wait_until_ready(bench, 2)
    stopped_at = time.time()
    pool.process.terminate()
    finish(bench, run)
    row = bench.connection.execute(
        "SELECT min(started_at) FROM run_items WHERE run_id = %s AND worker = ANY(%s)",
        (run.id, list(waiting.workers().values())),
    ).fetchone()
    requeued = pool.events("entries_requeued")
    assert row is not None
    if not requeued or row[0] is None:
        sys.exit("the pool had done all its items before it was stopped; nothing was measured")
    stop_in_order(waiting)
    return {
        "SIGTERM to first start by a waiting pool": row[0].timestamp() - stopped_at,
        "requeue to first start by a waiting pool": row[0].timestamp() - requeued[0]["at"],
    }


def flush_redis(bench: Bench, lease_seconds: float) -> Mapping[str, float]:
    """FLUSHALL in the middle of a run."""
    run = start_run(bench, 3000, milliseconds=2)
    with running_pool(bench, *WORDS, LEASE_SECONDS=lease_seconds) as pool:
        wait_until(lambda: completed(bench, run) >= 500, WAIT_SECONDS, "500 items done", POLL_SECONDS)
        flushed_at = time.time()
        bench.client.flushall()
        finish(bench, run)
        ended_at = time.time()
        added = [event["at"] for event in pool.events("items_added_again")]
        if not added:
            sys.exit("nothing had to be added again; nothing was measured")
        row = bench.connection.execute(
            "SELECT min(finished_at), count(*) FROM run_items WHERE run_id = %s AND started_at > %s",
            (run.id, moment(added[0])),
        ).fetchone()
        assert row is not None
        stop_in_order(pool)
    return {
        "items lost": float(row[1]),
        "items added again": added[0] - flushed_at,
        "first lost item completed": row[0].timestamp() - flushed_at,
        "run completed": ended_at - flushed_at,
    }


def start_run(bench: Bench, items: int, milliseconds: float = 0.0) -> Run:
    """A run whose items each take that long and leave one effect."""
    symbols = tuple(f"S{number}" for number in range(items))
    request = RunRequest("ledger_entry", symbols, "recovery", parameters={"milliseconds": milliseconds})
    run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
    return run


def finish(bench: Bench, run: Run, seconds: float = WAIT_SECONDS) -> None:
    """Wait for the run's end and check that every item has left exactly one effect."""
    wait_for_run(bench, run.id, seconds)
    row = bench.connection.execute(
        "SELECT count(*), count(DISTINCT symbol) FROM effects WHERE run_id = %s", (run.id,)
    ).fetchone()
    size = run_size(bench, run)
    if row != (size, size):
        sys.exit(f"{size} items left effects and distinct ones: {row}")


def completed(bench: Bench, run: Run) -> int:
    """How many items are completed."""
    return ledger.count_items(bench.connection, run).get("completed", 0)


def run_size(bench: Bench, run: Run) -> int:
    """How many items the run has."""
    return sum(ledger.count_items(bench.connection, run).values())


def workers_at_work(bench: Bench, run: Run) -> list[str]:
    """The consumers that have completed items of the run."""
    rows = bench.connection.execute(
        "SELECT DISTINCT worker FROM run_items WHERE run_id = %s AND worker IS NOT NULL", (run.id,)
    )
    return [worker for (worker,) in rows]


def kill_holder(bench: Bench, pool: Pool) -> tuple[float, set[int]]:
    """`kill -9` a worker with items in hand, after SIGSTOP to read which; returns the time and their seqs."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for pid, consumer in pool.workers().items():
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda pid=pid: is_stopped(pid), WAIT_SECONDS, "it stands", POLL_SECONDS)  # type: ignore[misc]
            if held := held_by(bench, consumer):
                killed_at = time.time()
                os.kill(pid, signal.SIGKILL)
                return killed_at, held
            os.kill(pid, signal.SIGCONT)
    sys.exit("no worker ever held anything; nothing was measured")


def held_by(bench: Bench, consumer: str) -> set[int]:
    """The seqs of the open items that a consumer holds."""
    stream = bench.streams.keys.stream(QUEUE)
    entries = []
    for entry_id in bench.streams.queues.find_owned(QUEUE, consumer):
        found: Any = bench.client.xrange(stream, entry_id, entry_id)
        entries += [unpack_entry(fields[b"e"], LARGEST_ENTRY) for _, fields in found]
    run = ledger.load_run(bench.connection, entries[0].run_id) if entries else None
    return set(ledger.read_open_symbols(bench.connection, run, [entry.seq for entry in entries])) if run else set()


def times_of(bench: Bench, run: Run, seqs: Collection[int], since: float) -> tuple[list[float], list[float]]:
    """The start and end of these items, started after a moment, in Unix seconds."""
    rows = bench.connection.execute(
        "SELECT started_at, finished_at FROM run_items WHERE run_id = %s AND seq = ANY(%s) AND started_at > %s",
        (run.id, list(seqs), moment(since)),
    ).fetchall()
    if not rows:
        sys.exit("the dead held nothing; nothing was measured")
    return [started.timestamp() for started, _ in rows], [finished.timestamp() for _, finished in rows]


def moment(unix_seconds: float) -> datetime:
    """Unix seconds in a form that PostgreSQL parses."""
    return datetime.fromtimestamp(unix_seconds).astimezone()


def stop_in_order(pool: Pool) -> int:
    """Send SIGTERM; returns the exit code."""
    pool.process.terminate()
    return pool.process.wait(STOP_SECONDS)


def is_stopped(pid: int) -> bool:
    """True if a process is stopped by a signal."""
    return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)


def is_running(pid: int) -> bool:
    """True if a process exists and has not ended."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


if __name__ == "__main__":
    main()
