"""Publishes the progress of requested jobs: a Redis hash for each job id, following its runs in the ledger."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from psycopg_pool import ConnectionPool

from scheduler.load_complete import announce_loads
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import OPEN_RUN_STATES, Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.inbox import Messages
from streamworkers.loading import LOAD_JOB
from streamworkers.loading.progress import Progress, count_calls_left

UPDATE_SECONDS = 0.5
MOST_JOBS = 100


@dataclass(frozen=True, slots=True)
class Submission:
    """A run that another program requested under a job id."""

    job_id: str
    run: Run


def set_submitted(messages: Messages, connection: Connection, submission: Submission, ttl_seconds: int) -> None:
    """Set the status `submitted` of a new job."""
    row = connection.execute("SELECT created_at FROM runs WHERE id = %s", (submission.run.id,)).fetchone()
    assert row is not None
    fields = {
        "status": "submitted",
        "progress": "0",
        "calls_left": str(count_calls_left(submission.run.parameters, submission.run.item_count, 0)),
        "eta": "",
        "message": f"run {submission.run.id}: {submission.run.item_count} items of {submission.run.job}",
        "submitted_at": row[0].isoformat(),
        "started_at": "",
        "completed_at": "",
    }
    messages.set_status(submission.job_id, fields, ttl_seconds, only_new=True)


class StatusFollower:
    """Updates the hash of every job that has not ended, at most twice a second, and once more when it has."""

    name = "status-follower"
    scope = "all"
    interval_seconds = 2.0

    def __init__(
        self, pool: "ConnectionPool[Connection]", messages: Messages, ttl_seconds: int, calls_per_minute: int = 0
    ) -> None:
        self._pool = pool
        self._calls_per_minute = calls_per_minute
        self._messages = messages
        self._ttl_seconds = ttl_seconds

    def run_once(self) -> float | None:
        """Update at most `MOST_JOBS` jobs; returns a short pause while there are any."""
        started = time.monotonic()
        with self._pool.connection() as connection:
            rows = ledger_reports.list_runs_to_notify(connection, MOST_JOBS)
            rows.sort(key=lambda row: row["external_id"])
            for job_id, group in groupby(rows, key=lambda row: row["external_id"]):
                runs = list(group)
                fields = summarize_runs(runs, self._calls_per_minute)
                if not any(run["status"] in OPEN_RUN_STATES for run in runs):
                    fields["message"] += _describe_bars(connection, runs)
                self._messages.set_status(job_id, fields, self._ttl_seconds)
                if not any(run["status"] in OPEN_RUN_STATES for run in runs):
                    with connection.transaction():
                        notified = ledger.mark_notified(connection, [run["run_id"] for run in runs])
                        announce_loads(connection, job_id, [run for run in runs if run["run_id"] in notified])
        # Counting the items of a large run costs PostgreSQL time that workers need.
        return max(UPDATE_SECONDS, 10 * (time.monotonic() - started)) if rows else None


def summarize_runs(
    runs: Sequence[Mapping[str, Any]], calls_per_minute: int = 0, now: datetime | None = None
) -> dict[str, str]:
    """The fields of the hash for the runs of one job; `calls_per_minute` is the limit of the provider of loads."""
    now = now or datetime.now(UTC)
    total, closed = sum(run["item_count"] for run in runs), sum(run["closed"] for run in runs)
    states = {run["status"] for run in runs}
    is_open = bool(states & set(OPEN_RUN_STATES))
    # Rounded down: only a job that has ended shows 100.
    progress = min(100 * closed // total if total else 0, 99) if is_open else 100
    calls = sum(count_calls_left(run["parameters"], run["item_count"], run["closed"]) for run in runs) if is_open else 0
    started = min((run["started_at"] for run in runs if run["started_at"]), default=None)
    eta = Progress(total, closed, calls, started).eta(calls_per_minute, now) if is_open else None
    last = max(runs, key=lambda run: (run["last_symbol"] is not None, run["run_id"]))
    return {
        "status": _status(states, closed, is_open=is_open),
        "progress": str(progress),
        "calls_left": str(calls),
        "eta": eta.isoformat(timespec="seconds") if eta is not None else "",
        "message": _message(runs, last, closed, total, is_open=is_open),
        "submitted_at": _iso(min(run["created_at"] for run in runs)),
        "started_at": _iso(started),
        "completed_at": "" if is_open else _iso(max(run["completed_at"] for run in runs)),
    }


def _describe_bars(connection: Connection, runs: Sequence[Mapping[str, Any]]) -> str:
    """Return how many bars were loaded in each timeframe, and why there are none where there are none."""
    parts = []
    for row in runs:
        run = ledger.load_run(connection, row["run_id"]) if row["job"] == LOAD_JOB else None
        for one in ledger_reports.sum_loaded_bars(connection, run) if run is not None else ():
            why = f" ({one['why']})" if not one["bars"] and one["why"] else ""
            parts.append(f"{one['bars']:,} {one['timeframe']}{why}")
    return f": {', '.join(parts)}" if parts else ""


def _status(states: set[str], closed: int, *, is_open: bool) -> str:
    if is_open:
        return "submitted" if states == {"PENDING"} and not closed else "running"
    if states == {"COMPLETED"}:
        return "completed"
    if states == {"CANCELLED"}:
        return "cancelled"
    return "completed_with_errors" if states & {"COMPLETED", "COMPLETED_WITH_ERRORS"} else "failed"


def _message(
    runs: Sequence[Mapping[str, Any]], last: Mapping[str, Any], closed: int, total: int, *, is_open: bool
) -> str:
    done = f"{closed} of {total} items of {runs[0]['job']}"
    if not is_open:
        failed = sum(run["failed_count"] or 0 for run in runs)
        return f"{done}, {failed} failed" if failed else done
    if last["last_symbol"] is None:
        return done
    return f"{' '.join(filter(None, (last['last_symbol'], last['last_timeframe'])))}: {done}"


def _iso(moment: datetime | None) -> str:
    return moment.isoformat() if moment is not None else ""
