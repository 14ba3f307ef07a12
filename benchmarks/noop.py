"""Items that do nothing, ledger row and fence included, compared with other queues that deliver at least once.

All do the same: the queue is filled first, then two worker processes start and empty it. The pool is timed by the
ledger, from the run's `started_at` to its `completed_at`. A peer is timed from the first to the last call of its task,
which appends one byte to a file; the size of the file is the count, so every call is counted, at the cost of one system
call. A peer's last acknowledgements are not awaited. All use the same Redis, which has one thread for commands: what an
item of the pool costs it, from enqueue to finish, is measured by its own count (`INFO cpu`).

The peers are installed in a virtual environment of their own:

    python -m venv peers && peers/bin/pip install -r requirements-bench.lock
    .venv/bin/python benchmarks/noop.py --peers-python peers/bin/python [--items N] [--rounds N]

Missing peers are named in the table. Huey is not among them: it removes a message from its list before it executes it,
so that a crash loses it.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_pool import (
    PROJECT,
    SAMPLE_JOBS,
    Bench,
    machine,
    positive,
    print_table,
    private_services,
    spread,
    stop,
    wait_for_run,
    wait_until,
    workers,
)
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs

PEERS = PROJECT / "benchmarks" / "peers"
TARGET_RATE, TARGET_RATIO, TARGET_REDIS = 20_000, 5, 12
RUN_SECONDS, FILL_SECONDS, DRAIN_SECONDS = 120.0, 120.0, 60.0
PEER_STOP_SECONDS = 5.0
_COUNT_POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Peer:
    """Another queue: its package, a number of items for some seconds of work, and how its two processes start."""

    name: str
    package: str
    items: int
    commands: Sequence[str]

    @property
    def word(self) -> str:
        """Its name on the command line and in the name of its module."""
        return self.name.split(",")[0].lower()


_TASKIQ = "taskiq worker --workers 2 --ack-type when_executed --max-prefetch 100 --log-level ERROR taskiq_peer:broker"
_DOCKET = "python -m docket_peer work"
_CELERY = "celery --quiet -A celery_peer worker --concurrency 2 --loglevel ERROR"
PEER_LIST = (
    Peer("Taskiq, Redis Streams", "taskiq_redis", 10_000, [_TASKIQ]),
    Peer("Dramatiq", "dramatiq", 10_000, ["dramatiq --processes 2 dramatiq_peer"]),
    Peer("SAQ", "saq", 5000, ["saq saq_peer.settings"] * 2),
    Peer("Docket", "pydocket", 3000, [_DOCKET] * 2),
    Peer("streaQ", "streaq", 3000, ["streaq run streaq_peer:worker --workers 2"]),
    Peer("arq", "arq", 3000, ["arq arq_peer.WorkerSettings"] * 2),
    Peer("Celery, acks_late", "celery", 2000, [_CELERY]),
    Peer("RQ", "rq", 400, ["rq worker --quiet --url {redis_url}"] * 2),
)


def main() -> None:
    """Measure alternating rounds of the pool and the peers, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=positive, default=100_000)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--processes", type=positive, default=2)
    parser.add_argument("--peers", nargs="*", default=_names(), choices=_names(), help="all by default")
    parser.add_argument(
        "--peers-python", type=Path, default=Path(sys.executable), help="Python with the peers installed"
    )
    words = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    # Not resolved: Python finds its virtual environment by this link.
    peers_python = words.peers_python.absolute()
    present = [peer for peer in PEER_LIST if peer.word in words.peers and _is_installed(peers_python, peer)]
    ours: list[float] = []
    costs: list[float] = []
    theirs: dict[str, list[float]] = {peer.name: [] for peer in present}
    with private_services() as bench:
        about = machine(bench)
        for _ in range(words.rounds):
            bench.empty()
            rate, cost = our_rate(bench, words.items, words.processes)
            ours.append(rate)
            costs.append(cost)
            print(f"streamworkers: {rate:,.0f} items/s, Redis {cost:.1f} µs an item", file=sys.stderr)
            for peer in present:
                bench.empty()
                theirs[peer.name].append(peer_rate(bench, peer, peers_python))
                print(f"{peer.name}: {theirs[peer.name][-1]:,.0f} items/s", file=sys.stderr)
    rows = [["streamworkers, ledger and fence", f"{words.items:,}", spread(ours, 0), "", ""]]
    for peer in PEER_LIST:
        if rates := theirs.get(peer.name):
            ratios = [our / their for our, their in zip(ours, rates, strict=True)]
            rows.append([peer.name, f"{peer.items:,}", spread(rates, 0), spread(ratios, 1), _versions[peer.name]])
        else:
            rows.append([peer.name, "", "not installed" if peer.word in words.peers else "left out", "", ""])
    # The fastest peer of the same round, which may be another one in each round.
    factors = [our / max(rates) for our, *rates in zip(ours, *theirs.values(), strict=True) if rates]
    factor = spread(factors, 1) if factors else "unknown, no peer is installed"
    print_table(
        f"Items that do nothing, on {words.processes} worker processes",
        ["", "items", f"items/s, median of {words.rounds} (min-max)", "ours to theirs", "version"],
        rows,
        [
            f"target: {TARGET_RATE:,} items/s and {TARGET_RATIO} x the fastest peer; factor here: {factor}",
            f"Redis' processor time for an item of the pool: {spread(costs, 1)} µs; target: {TARGET_REDIS}",
            about,
        ],
    )


def our_rate(bench: Bench, items: int, processes: int) -> tuple[float, float]:
    """Items a second from the start of the run to its end, by the ledger; and Redis' microseconds for each."""
    before = bench.redis_seconds()
    bench.streams.queues.ensure_groups(["bench"])
    request = RunRequest("noop", tuple(f"S{number}" for number in range(items)), "benchmark")
    run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
    with workers(bench, processes, "bench"):
        times = wait_for_run(bench, run.id, RUN_SECONDS)
    seconds: float = (times.completed_at - times.started_at).total_seconds()
    return items / seconds, (bench.redis_seconds() - before) / items * 1e6


def peer_rate(bench: Bench, peer: Peer, python: Path) -> float:
    """Items a second from the first to the last call of a peer's task."""
    count_file = bench.folder / "calls"
    count_file.write_bytes(b"")
    socket_path = bench.redis_url.removeprefix("unix://")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(PEERS),
        "PEER_REDIS_URL": bench.redis_url,
        "PEER_REDIS_SOCKET": socket_path,
        "PEER_CELERY_URL": f"redis+socket://{socket_path}",
        "PEER_COUNT_FILE": str(count_file),
    }
    module = f"{peer.word}_peer"
    fill = [str(python), str(PEERS / f"{module}.py"), str(peer.items)]
    subprocess.run(fill, env=environment, cwd=bench.folder, check=True, timeout=FILL_SECONDS)
    log_path = bench.folder / f"{module}.log"
    started: list[subprocess.Popen[bytes]] = []
    with log_path.open("wb") as log_file:
        try:
            for command in peer.commands:
                program, *rest = command.format(redis_url=bench.redis_url).split()
                line = [str(python.parent / program), *rest]
                started.append(
                    subprocess.Popen(line, env=environment, cwd=bench.folder, stdout=log_file, stderr=log_file)
                )
            return _rate_of_calls(count_file, peer, log_path)
        finally:
            for process in started:
                stop(process, PEER_STOP_SECONDS)


def _rate_of_calls(count_file: Path, peer: Peer, log_path: Path) -> float:
    def calls() -> int:
        return count_file.stat().st_size

    words = f"{peer.name} done with {peer.items} items"
    try:
        wait_until(calls, DRAIN_SECONDS, f"{peer.name} started", _COUNT_POLL_SECONDS)
        first_at, first = time.perf_counter(), calls()
        wait_until(lambda: calls() >= peer.items, DRAIN_SECONDS, words, _COUNT_POLL_SECONDS)
    except SystemExit:
        print(f"{calls()} calls; {log_path.read_text(errors='replace')[-2000:]}", file=sys.stderr)
        raise
    return (peer.items - first) / (time.perf_counter() - first_at)


def _names() -> list[str]:
    return [peer.word for peer in PEER_LIST]


_versions: dict[str, str] = {}


def _is_installed(python: Path, peer: Peer) -> bool:
    """True if that Python has the peer; keeps its version for the table."""
    distribution = peer.package.replace("_", "-")
    done = subprocess.run(
        [str(python), "-c", f"from importlib.metadata import version; print(version({distribution!r}))"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    _versions[peer.name] = done.stdout.strip()
    return done.returncode == 0


if __name__ == "__main__":
    main()
