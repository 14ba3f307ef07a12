"""The table `job_types`: what the processes of the pool have installed, for those who have no job's code."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from streamworkers.database import Connection, fetch_value

KEPT_DAYS = 7
_SEEN_EVERY_SECONDS = 600.0
# Written only where it says something new: every process of the pool does this all the time.
_RECORD = """
    INSERT INTO job_types AS t
        (name, schema_hash, release, queue, max_attempts, params_schema, item_kind, notifies_failure, needs_bars)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (name, schema_hash) DO UPDATE SET (release, queue, max_attempts, notifies_failure, needs_bars, seen_at)
        = (excluded.release, excluded.queue, excluded.max_attempts, excluded.notifies_failure, excluded.needs_bars,
           excluded.seen_at)
    WHERE t.seen_at < excluded.seen_at - make_interval(secs => %s)
        OR (t.release, t.queue, t.max_attempts, t.notifies_failure, t.needs_bars)
            <> (excluded.release, excluded.queue, excluded.max_attempts, excluded.notifies_failure, excluded.needs_bars)
"""
# One probe of the index for each job, whatever the number of runs.
_KNOWN_JOBS = """
    WITH RECURSIVE each AS (
        SELECT min(job) AS job FROM runs
        UNION ALL SELECT (SELECT min(r.job) FROM runs r WHERE r.job > each.job) FROM each WHERE each.job IS NOT NULL)
    SELECT job FROM each WHERE job IS NOT NULL UNION SELECT name FROM job_types
"""


class JobType(NamedTuple):
    """What others may know of a job: its name, where it runs, and the JSON Schema of its parameters."""

    name: str
    queue: str
    max_attempts: int
    params_schema: dict[str, Any]
    item_kind: str
    notifies_failure: bool = True
    needs_bars: bool = False

    @property
    def schema_hash(self) -> str:
        """What tells two kinds of requests for one job apart: SHA-256 of the schema and the kind of items."""
        text = json.dumps([self.params_schema, self.item_kind], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class RecordedJob(NamedTuple):
    """A job as processes of one release of the pool have it, and when one of them was seen with it last."""

    type: JobType
    release: str
    seen_at: datetime


def record_job_types(connection: Connection, types: Iterable[JobType], release: str) -> None:
    """Record that these jobs are installed in a process of this release."""
    for each in sorted(types, key=lambda one: one.name):
        connection.execute(
            _RECORD,
            (
                each.name,
                each.schema_hash,
                release,
                each.queue,
                each.max_attempts,
                Jsonb(each.params_schema),
                each.item_kind,
                each.notifies_failure,
                each.needs_bars,
                _SEEN_EVERY_SECONDS,
            ),
        )


def find_silent_jobs(connection: Connection, names: Iterable[str]) -> set[str]:
    """Those of these jobs that fail without a notification."""
    statement = "SELECT name FROM job_types WHERE name = ANY(%s) AND NOT notifies_failure"
    return {name for (name,) in connection.execute(statement, (list(names),))}


def needs_bars(connection: Connection, job: str) -> bool:
    """True if a process of the pool has a job that can do nothing about a symbol without bars."""
    return bool(fetch_value(connection, "SELECT bool_or(needs_bars) FROM job_types WHERE name = %s", (job,)))


def read_job_types(connection: Connection, name: str | None = None) -> list[JobType]:
    """Return the jobs that processes of the pool have, or those of one name; two releases may have two of a name."""
    rows = connection.execute(
        "SELECT name, queue, max_attempts, params_schema, item_kind, notifies_failure, needs_bars FROM job_types"
        " WHERE %s::text IS NULL OR name = %s ORDER BY name, seen_at DESC",
        (name, name),
    )
    return [JobType(*row) for row in rows]


def read_recorded_jobs(connection: Connection) -> list[RecordedJob]:
    """Return all jobs that processes of the pool have, by name, those that were seen last first."""
    rows = connection.execute(
        "SELECT name, queue, max_attempts, params_schema, item_kind, notifies_failure, needs_bars, release, seen_at"
        " FROM job_types ORDER BY name, seen_at DESC"
    )
    return [RecordedJob(JobType(*row[:-2]), *row[-2:]) for row in rows]


def list_known_jobs(connection: Connection) -> set[str]:
    """Return the names of the jobs that processes of the pool have had lately, and of those that have runs."""
    return {name for (name,) in connection.execute(_KNOWN_JOBS)}


def delete_old_job_types(connection: Connection) -> None:
    """Remove jobs that no process has had for seven days."""
    connection.execute(
        "DELETE FROM job_types WHERE seen_at < clock_timestamp() - make_interval(days => %s)", (KEPT_DAYS,)
    )
