"""What lists of runs cost at a million runs, and whether a walk over runs misses one while others are added.

Lists: for each way to choose runs, the statement's time and the blocks of 8 KiB that it reads, over `--runs` invented
runs of 50 schedules, of which one of a thousand failed. `--without-indexes` drops the indexes of migration 0043 first.

Walk: `--walked` runs are there, and `--rate` are added each second by 8 sessions whose transactions commit out of
order, while a client walks over them through an API process with `order=asc`. The runs of all transactions that had
begun when the walk began are counted: each has to be seen once. For comparison, how many a walk by number misses.

Status: the time of `GET /api/jobs/status` by HTTP with these runs and schedules, while two workers empty a queue.

    .venv/bin/python benchmarks/run_lists.py [--runs N] [--walked N] [--rate N] [--without-indexes] [--json]
"""

import argparse
import base64
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from bench_pool import (
    SAMPLE_JOBS,
    Bench,
    Figure,
    machine,
    percentile,
    positive,
    print_figures,
    private_services,
    running_api,
    workers,
)
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token
from streamworkers.database import connect
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger.run_pages import RunFilter, choose_runs, list_executions
from streamworkers.engine.registry import installed_jobs

SESSIONS, LONGEST_HOLD = 8, 0.5
STATUS_MS, STATUS_REQUESTS, STATUS_ITEMS = 50, 300, 500_000
_INDEXES = ("runs_of_status", "runs_of_schedule_name", "runs_created")
_FILL = """
    INSERT INTO runs (job, queue, status, target, item_count, max_attempts, schedule_id, schedule, scheduled_for,
                      requested_by, created_at, started_at, completed_at, completed_count, failed_count,
                      cancelled_count)
    SELECT 'job' || n %% 10, 'tests',
        CASE WHEN n %% 1000 = 0 THEN 'FAILED' WHEN n %% 100 = 1 THEN 'COMPLETED_WITH_ERRORS' ELSE 'COMPLETED' END,
        'sp500', 500, 3, s.id, s.name, at, CASE WHEN n %% 7 = 0 THEN 'ann' END, at, at, at + interval '1 minute',
        500, 0, 0
    FROM (SELECT n, now() - make_interval(secs => (%(runs)s - n) * 60) AS at
          FROM generate_series(1, %(runs)s) AS n) AS m
    LEFT JOIN schedules s ON m.n %% 2 = 0 AND s.name = 's' || m.n / 2 %% 50
"""
_SCHEDULES = """
    INSERT INTO schedules (name, job, target, cron) SELECT 's' || n, 'job1', '{"universe": "sp500"}', '10 18 * * *'
    FROM generate_series(0, 49) AS n
"""
_TICKS = """
    INSERT INTO ticks (schedule_id, scheduled_for, session, state, run_id)
    SELECT schedule_id, scheduled_for, scheduled_for::date, 'started', id FROM runs WHERE schedule_id IS NOT NULL
"""
_ADD = """
    INSERT INTO runs (job, queue, target, item_count, max_attempts)
    SELECT 'noop', 'tests', 'x', 0, 1 FROM generate_series(1, %s)
"""
WAYS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "newest": (None, {}),
    "newest of a user": ("ann", {}),
    "page 10,000": (None, {"before_id": 500_000}),
    "failed": (None, {"status": "FAILED"}),
    "failed, of a user": ("ann", {"status": "FAILED"}),
    "running": (None, {"status": "RUNNING"}),
    "completed": (None, {"status": "COMPLETED"}),
    "of a job": (None, {"job": "job3"}),
    "failed, of a job": (None, {"job": "job0", "status": "FAILED"}),
    "of no job": (None, {"job": "gone"}),
    "of a schedule": (None, {"schedule": "s7"}),
    "of no schedule": (None, {"schedule": "gone"}),
    "of a user": (None, {"user": "ann"}),
    "since an hour": (None, {"since": "1 hour"}),
    "since a year, failed": (None, {"since": "365 days", "status": "FAILED"}),
}


def main() -> int:
    """Measure both parts; 1 if a run is missed or seen twice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=positive, default=1_000_000)
    parser.add_argument("--walked", type=positive, default=100_000)
    parser.add_argument("--rate", type=positive, default=1_000)
    parser.add_argument("--without-indexes", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sys.path.insert(0, str(SAMPLE_JOBS))
    with private_services() as bench:
        figures = measure_walk(bench, options.walked, options.rate)
        figures += measure_lists(bench, options.runs, options.without_indexes)
        figures += measure_status(bench)
        print_figures("Lists of runs", figures, [machine(bench)], as_json=options.json)
    return 0 if all(figure.verdict != "NO" for figure in figures) else 1


def measure_lists(bench: Bench, runs: int, without_indexes: bool) -> list[Figure]:
    """What each way to choose runs costs PostgreSQL, for a page of 50."""
    bench.connection.execute("TRUNCATE runs, ticks")
    for statement in ("INSERT INTO users (id) VALUES ('ann') ON CONFLICT DO NOTHING", _SCHEDULES):
        bench.connection.execute(statement.encode())
    bench.connection.execute(_FILL, {"runs": runs})
    bench.connection.execute(_TICKS)
    for index in _INDEXES if without_indexes else ():
        bench.connection.execute(f"DROP INDEX {index}".encode())
    bench.connection.execute("VACUUM ANALYZE runs, ticks")
    found = [figure for name, (viewer, wanted) in WAYS.items() for figure in _explain(bench, name, viewer, wanted)]
    for viewer, job in ((None, None), ("ann", None), (None, "job3"), (None, "s7"), (None, "gone")):
        times = []
        for _ in range(3):
            began = time.monotonic()
            list_executions(bench.connection, viewer, job, 50)
            times.append((time.monotonic() - began) * 1000)
        found.append(Figure(f"history of {job or 'all'} for {viewer or 'all'}: ms", [min(times)]))
    return found


def _explain(bench: Bench, name: str, viewer: str | None, wanted: dict[str, Any]) -> list[Figure]:
    since = wanted.get("since")
    if since is not None:
        row = bench.connection.execute("SELECT now() - %s::interval", (since,)).fetchone()
        wanted = {**wanted, "since": row[0] if row else None}
    statement, values = choose_runs(viewer, RunFilter(**wanted))
    text = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement} ORDER BY r.id DESC LIMIT 51"
    plans = [bench.connection.execute(text.encode(), values).fetchone() for _ in range(3)]
    times = [plan[0][0]["Execution Time"] + plan[0][0]["Planning Time"] for plan in plans if plan]
    plan = plans[-1][0][0]["Plan"] if plans[-1] else {}
    blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return [Figure(f"{name}: ms", [min(times)], None), Figure(f"{name}: blocks", [blocks], None)]


def measure_walk(bench: Bench, walked: int, rate: int) -> list[Figure]:
    """Walk over all runs by HTTP while others are added, and follow them by number beside it."""
    bench.connection.execute(_ADD, (walked,))
    token = create_token(bench.connection, LOCAL, "walk", "ann", ["admin"]).text
    ended = threading.Event()
    followed: set[int] = set()
    following = threading.Thread(target=_follow_by_number, args=(bench, ended, followed))
    with running_api(bench, API_REQUESTS_PER_MINUTE=0) as url, _adding(bench, rate) as added:
        time.sleep(3)
        before, began = added[0], time.monotonic()
        following.start()
        seen, until, pages, waits = _walk(url, token)
        seconds = time.monotonic() - began
        ended.set()
        following.join()
        speed = (added[0] - before) / seconds
    statement = f"SELECT id FROM runs WHERE transaction < '{until}'"
    expected = {number for (number,) in bench.connection.execute(statement.encode())}
    every = {number for (number,) in bench.connection.execute("SELECT id FROM runs")}
    times = Counter(seen)
    return [
        Figure("runs to be seen", [len(expected)], None),
        Figure("runs missed", [len(expected - times.keys())], 0, 0),
        Figure("runs seen twice", [sum(times.values()) - len(times)], 0, 0),
        Figure("runs of later transactions seen", [len(times.keys() - expected)], 0, 0),
        Figure("runs missed by who follows by number", [len({n for n in every - followed if n < max(followed)})], None),
        Figure("runs added each second", [speed], None),
        Figure("seconds of the walk", [seconds], None),
        Figure("pages", [pages], None),
        Figure("pages without a run", [waits], None),
    ]


def measure_status(bench: Bench) -> list[Figure]:
    """The time of the status of all jobs by HTTP, one request after the other, with a pool at work."""
    token = create_token(bench.connection, LOCAL, "status", "ann", ["admin"]).text
    bench.streams.queues.ensure_groups(["bench"])
    request = RunRequest("noop", tuple(f"S{number}" for number in range(STATUS_ITEMS)), "benchmark")
    run, _ = enqueue(bench.connection, bench.streams, installed_jobs(), request)
    times = []
    with running_api(bench, API_REQUESTS_PER_MINUTE=0) as url, workers(bench, 2, "bench"):
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
            for _ in range(STATUS_REQUESTS):
                began = time.monotonic()
                client.get(f"{url}/api/jobs/status").raise_for_status()
                times.append((time.monotonic() - began) * 1000)
        row = bench.connection.execute("SELECT completed_at IS NULL FROM runs WHERE id = %s", (run.id,)).fetchone()
    if row != (True,):
        raise RuntimeError("the queue was empty before the last request")
    return [
        Figure("status of all jobs: ms", times, None),
        Figure("its 95th percentile: ms", [percentile(times, 0.95)], STATUS_MS),
    ]


def _walk(url: str, token: str) -> tuple[list[int], int, int, int]:
    seen: list[int] = []
    cursor, until, pages, waits = "", 0, 0, 0
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        while True:
            query = "order=asc&limit=1000" + (f"&cursor={cursor}" if cursor else "")
            page = client.get(f"{url}/api/v1/runs?{query}").raise_for_status().json()
            seen += [row["id"] for row in page["items"]]
            pages, waits = pages + 1, waits + (not page["items"])
            if page["next"] is None:
                return seen, until, pages, waits
            cursor = page["next"]
            until = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).split(b".")[2])
            if not page["items"]:
                time.sleep(0.05)


def _follow_by_number(bench: Bench, ended: threading.Event, followed: set[int]) -> None:
    statement = "SELECT id FROM runs WHERE id > %s ORDER BY id LIMIT 1000"
    with connect(bench.database_url, application="by-number") as connection:
        place = 0
        while not ended.is_set():
            rows = [number for (number,) in connection.execute(statement, (place,))]
            followed.update(rows)
            place = rows[-1] if rows else place
            time.sleep(0 if rows else 0.05)


@contextmanager
def _adding(bench: Bench, rate: int) -> Iterator[list[int]]:
    """Add runs in several sessions, in transactions of different lengths; yields how many there are so far."""
    added, stop, lock = [0], threading.Event(), threading.Lock()

    def add(number: int) -> None:
        rng = random.Random(number)
        with connect(bench.database_url, application=f"adding-{number}") as connection:
            while not stop.is_set():
                began, hold = time.monotonic(), rng.uniform(0.01, LONGEST_HOLD)
                count = max(2, round(rate / SESSIONS * hold))
                with connection.transaction():
                    for part in (count // 2, count - count // 2):
                        connection.execute(_ADD, (part,))
                        time.sleep(max(0.0, hold / 2 - (time.monotonic() - began) / 2))
                with lock:
                    added[0] += count

    threads = [threading.Thread(target=add, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    try:
        yield added
    finally:
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    raise SystemExit(main())
