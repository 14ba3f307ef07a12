"""Publishes the progress of requested jobs: a Redis hash for each job id, following its runs in the ledger."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from psycopg_pool import ConnectionPool

from scheduler.load_complete import announce_loads
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import OPEN_RUN_STATES, Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.inbox import Messages

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

    def __init__(self, pool: "ConnectionPool[Connection]", messages: Messages, ttl_seconds: int) -> None:
        self._pool = pool
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
                self._messages.set_status(job_id, summarize_runs(runs), self._ttl_seconds)
                if not any(run["status"] in OPEN_RUN_STATES for run in runs):
                    with connection.transaction():
                        notified = ledger.mark_notified(connection, [run["run_id"] for run in runs])
                        announce_loads(connection, job_id, [run for run in runs if run["run_id"] in notified])
        # Counting the items of a large run costs PostgreSQL time that workers need.
        return max(UPDATE_SECONDS, 10 * (time.monotonic() - started)) if rows else None


def summarize_runs(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The fields of the hash for the runs of one job."""
    total, closed = sum(run["item_count"] for run in runs), sum(run["closed"] for run in runs)
    states = {run["status"] for run in runs}
    is_open = bool(states & set(OPEN_RUN_STATES))
    share = 100 * closed / total if total else 0.0
    # Rounded down: only a job that has ended shows 100.
    progress = min(math.floor(share * 10) / 10, 99.9) if is_open else 100.0
    last = max(runs, key=lambda run: (run["last_symbol"] is not None, run["run_id"]))
    return {
        "status": _status(states, closed, is_open=is_open),
        "progress": f"{progress:g}",
        "message": _message(runs, last, closed, total, is_open=is_open),
        "submitted_at": _iso(min(run["created_at"] for run in runs)),
        "started_at": _iso(min((run["started_at"] for run in runs if run["started_at"]), default=None)),
        "completed_at": "" if is_open else _iso(max(run["completed_at"] for run in runs)),
    }


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
