"""Many streams of events over restarts of the API: what each has read, joined by Last-Event-ID, is the table.

Each stream follows a run of its own from its first event to its end, and begins again behind the last id that it has
whenever it ends. Writers change the runs meanwhile, with rollbacks. The API, a process of its own, is ended and started
again, every other time by SIGKILL. An event that a stream has missed, or has had twice or in another order, counts.

    .venv/bin/python benchmarks/event_streams.py [--streams N] [--restarts N] [--seconds N]
"""

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta

import httpx

from bench_pool import Bench, machine, positive, print_table, private_services, stop, wait_until
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token
from streamworkers.database import connect
from streamworkers.engine import ledger
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run, run_events

START_SECONDS, END_SECONDS, READ_SECONDS = 60.0, 120, 60.0
WRITERS = 4
_PAUSE_SECONDS = 0.2


@dataclass
class Stream:
    """What one stream has read: number, kind and data of each event."""

    run: Run
    seen: list[tuple[int, str, dict[str, object]]] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    is_over: bool = False


class Api:
    """The API on one port, as a process that is ended and started again."""

    def __init__(self, bench: Bench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._environment = os.environ | {
            "STREAMWORKERS_REDIS_URL": bench.redis_url,
            "STREAMWORKERS_DATABASE_URL": bench.database_url,
            "STREAMWORKERS_LISTEN_URL": bench.database_url,
            "STREAMWORKERS_LOG_LEVEL": "error",
        }
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        words = ["-m", "streamworkers", "api", "--port", str(self.port)]
        process = subprocess.Popen([sys.executable, *words], env=self._environment)
        wait_until(self._answers, START_SECONDS, "the API answers")
        return process

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1.0):
            return True
        return False

    def restart(self, number: int) -> float:
        """End it by a signal, and start it again; returns the seconds until it had ended."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait()
        seconds = time.monotonic() - began
        self.process = self._start()
        return seconds


def main() -> None:
    """Let streams, writers and restarts go on at once, and compare what was read with the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=positive, default=200)
    parser.add_argument("--restarts", type=positive, default=6)
    parser.add_argument("--seconds", type=positive, default=10, help="from one restart to the next")
    words = parser.parse_args()
    run_events.PROGRESS_SECONDS = 0.0
    with private_services() as bench, running(bench) as api:
        token = create_token(bench.connection, LOCAL, "bench", "bench", ("read",), timedelta(days=1)).text
        streams = [Stream(make_run(bench)) for _ in range(words.streams)]
        runs, over = [stream.run for stream in streams], threading.Event()
        threads = [threading.Thread(target=write, args=(bench, runs, seed, over)) for seed in range(WRITERS)]
        following = threading.Thread(target=lambda: asyncio.run(follow_all(api.port, token, streams)), daemon=True)
        for thread in (*threads, following):
            thread.start()
        stops = []
        for number in range(words.restarts):
            time.sleep(words.seconds)
            stops.append((number % 2, api.restart(signal.SIGKILL if number % 2 else signal.SIGTERM)))
        over.set()
        for thread in threads:
            thread.join()
        for run in runs:
            ledger.cancel_run(bench.connection, run)
        following.join(END_SECONDS)
        report(bench, streams, [seconds for is_kill, seconds in stops if not is_kill])


@contextmanager
def running(bench: Bench) -> Iterator[Api]:
    """The API for a block."""
    api = Api(bench)
    try:
        yield api
    finally:
        stop(api.process)


def make_run(bench: Bench) -> Run:
    """A run that nobody executes."""
    request = RunRequest("noop", ("A", "B"), "benchmark")
    run, _ = ledger.create_run(bench.connection, request, "nobody", 1)
    ledger.mark_running(bench.connection, [run.id])
    return run


def write(bench: Bench, runs: Sequence[Run], seed: int, over: threading.Event) -> None:
    """Write events of runs, a third of them in transactions that are rolled back."""
    chosen = random.Random(seed)
    with connect(bench.database_url, application="writer") as connection:
        while not over.wait(0.01):
            with suppress(ZeroDivisionError), connection.transaction():
                some = chosen.sample(runs, min(5, len(runs)))
                run_events.write_progress(connection, [(run.id, {"items": chosen.randrange(10**9)}) for run in some])
                if chosen.random() < 1 / 3:
                    raise ZeroDivisionError


async def follow_all(port: int, token: str, streams: Sequence[Stream]) -> None:
    """Read all streams to their ends."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits, timeout=READ_SECONDS
    ) as client:
        await asyncio.gather(*(follow(client, stream) for stream in streams))


async def follow(client: httpx.AsyncClient, stream: Stream) -> None:
    """Read one stream, again and again behind the last id, until its run has ended."""
    while not stream.is_over:
        last = {"Last-Event-ID": f"{stream.run.id}:{stream.seen[-1][0]}"} if stream.seen else {}
        with suppress(httpx.HTTPError):
            async with client.stream("GET", f"/api/v1/runs/{stream.run.id}/events", headers=last) as answer:
                stream.answers[answer.status_code] += 1
                stream.is_over = answer.status_code == 204
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "data" and answer.status_code == 200:
                        event = json.loads(value)
                        stream.seen.append((event["seq"], event["kind"], event["data"]))
                        stream.is_over = event["kind"] == "ended"
        await asyncio.sleep(0 if stream.is_over else random.uniform(0.5, 1.5) * _PAUSE_SECONDS)


def report(bench: Bench, streams: Sequence[Stream], stops: Sequence[float]) -> None:
    """Print the figures; ends with status 1 if a stream is not the table."""
    wrong, total, statuses = 0, 0, Counter[int]()
    for stream in streams:
        rows = bench.connection.execute(
            "SELECT seq, kind, data FROM run_events WHERE run_id = %s ORDER BY seq", (stream.run.id,)
        ).fetchall()
        has_gap = [row[0] for row in rows] != list(range(1, len(rows) + 1))
        wrong += stream.seen != rows or has_gap
        total += len(rows)
        statuses += stream.answers
    rows_of_table = [
        ["streams", f"{len(streams):,}"],
        ["events in the table", f"{total:,}"],
        ["events read", f"{sum(len(stream.seen) for stream in streams):,}"],
        ["streams that are not the table", str(wrong)],
        ["streams without their end", str(sum(not stream.is_over for stream in streams))],
        ["answers by status", ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))],
        ["longest stop by SIGTERM, s", f"{max(stops):.1f}"],
    ]
    print_table("Streams of events over restarts of the API", ["", ""], rows_of_table, [machine(bench)])
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
