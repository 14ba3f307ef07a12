"""A client's calls as SQL: the functions and views that the group `streamworkers_client` may use, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from streamworkers.client.door import Door
from streamworkers.client.records import RunItem, RunState, SubmittableJob, Submitted
from streamworkers.client.steps import Query, Steps
from streamworkers.errors import RunEndedError, UnknownRunError

_SUBMIT = "SELECT id, run_id::text, is_new FROM submit_runs(%s::jsonb) ORDER BY place"
_RUN_COLUMNS = """
    id, run_id::text, job, status, item_count, completed_count, failed_count, cancelled_count, key, "user", created_at,
    prepared_at, started_at, completed_at, reason, target, timeframe, as_of, parameters
"""
_RUN = f"SELECT {_RUN_COLUMNS} FROM client_runs WHERE id = %s"  # noqa: S608  # constants
_RUNS = f"""
    SELECT {_RUN_COLUMNS} FROM client_runs
    WHERE (%s::text IS NULL OR job = %s) AND (%s::text IS NULL OR status = %s) AND (%s::text IS NULL OR "user" = %s)
        AND (%s::bigint IS NULL OR id < %s)
    ORDER BY id DESC LIMIT %s
"""  # noqa: S608
_ITEM_COLUMNS = "run_id, seq, key, timeframe, status, attempt, worker, started_at, finished_at, result, error, history"
_ITEMS = f"SELECT {_ITEM_COLUMNS} FROM client_items WHERE run_id = %s AND seq > %s ORDER BY seq LIMIT %s"  # noqa: S608
_ITEMS_OF_KEY = f"""
    SELECT {_ITEM_COLUMNS} FROM client_items
    WHERE run_id = %s AND key = %s AND (%s::text IS NULL OR timeframe = %s) ORDER BY seq LIMIT 2
"""  # noqa: S608
_CANCEL = "SELECT status, items FROM cancel_client_run(%s)"
_JOBS = """
    SELECT name, queue, max_attempts, item_kind, params_schema::text
    FROM client_jobs ORDER BY name, seen_at
"""


class SqlDoor(Door):
    """ClientCalls by the functions and views of PostgreSQL."""

    checks_parameters = True

    def submit(self, requests: Sequence[Mapping[str, Any]], call_key: str) -> Steps[list[Submitted]]:
        """Submit runs, all or none; returns the run of each request."""
        rows = yield Query(_SUBMIT, (json.dumps(requests),), changes=True)
        return [Submitted(*row) for row in rows]

    def may_repeat(self, requests: Sequence[Mapping[str, Any]]) -> bool:
        """True if each request has a key of its own."""
        return all(request.get("key") for request in requests)

    def read_run(self, run_id: int, seconds: float | None = None) -> Steps[RunState]:
        """Return the state of a run. Raises UnknownRunError if the login has no such run."""
        rows = yield Query(_RUN, (run_id,), seconds=seconds)
        if not rows:
            raise _unknown_run(run_id)
        return RunState(*rows[0])

    def list_runs(self, chosen: Mapping[str, str | None], before: int | None, limit: int) -> Steps[list[RunState]]:
        """Return the newest runs of the login that match what is given and are older than `before`, newest first."""
        job, status, user = chosen["job"], chosen["status"], chosen["user"]
        rows = yield Query(_RUNS, (job, job, status, status, user, user, before, before, limit))
        return [RunState(*row) for row in rows]

    def read_items(self, run_id: int, after: int, limit: int) -> Steps[list[RunItem]]:
        """Return the next items of a run, by their place in it."""
        rows = yield Query(_ITEMS, (run_id, after, limit))
        return [RunItem(*row) for row in rows]

    def find_items(self, run_id: int, key: str, timeframe: str | None) -> Steps[list[RunItem]]:
        """Return up to two items of a run with a key, of a timeframe or of any."""
        rows = yield Query(_ITEMS_OF_KEY, (run_id, key, timeframe, timeframe))
        return [RunItem(*row) for row in rows]

    def cancel(self, run_id: int) -> Steps[int]:
        """Cancel a run; returns the number of items that were open. Of a cancelled run, cancels nothing."""
        rows = yield Query(_CANCEL, (run_id,), changes=True)
        if not rows:
            raise _unknown_run(run_id)
        status, items = rows[0]
        if status != "CANCELLED":
            raise RunEndedError(f"run {run_id} is {status}, and only a run that is PENDING or RUNNING can be cancelled")
        return int(items)

    def read_jobs(self) -> Steps[list[SubmittableJob]]:
        """Return the jobs that processes of the pool have installed, each in its releases, the newest last."""
        rows = yield Query(_JOBS)
        return [SubmittableJob(*(*row[:4], json.loads(row[4]))) for row in rows]


def _unknown_run(run_id: int) -> UnknownRunError:
    """The error for a run that this client cannot see."""
    return UnknownRunError(
        f"there is no run {run_id} of this login: another login has submitted it, or the transaction in which it was"
        " submitted has not been committed"
    )
