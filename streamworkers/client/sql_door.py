"""A client's calls as SQL: the functions and views that the group `streamworkers_client` may use, and nothing else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from streamworkers.client.door import Door
from streamworkers.client.records import EventPage, RunEvent, RunItem, RunState, SubmittableJob, Submitted
from streamworkers.client.steps import Query, Steps
from streamworkers.errors import RunEndedError, UnknownRunError

_OPEN_STATES = ("PENDING", "RUNNING")
_MOST_EVENTS = 100
# As text, whatever a caller's driver makes of JSON.
_SUBMIT = "SELECT id, run_id::text, is_new, warnings FROM submit_runs(%s::text::jsonb) ORDER BY place"
_RUN_COLUMNS = """
    id, run_id::text, job, status, item_count, completed_count, failed_count, cancelled_count, key, "user", created_at,
    prepared_at, started_at, completed_at, reason, target, timeframe, as_of, parameters, last_event, start_at,
    is_waiting, "after", after_when, webhook
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
# Some commits are lazy. The message makes the end of this transaction wait for all before it, so that no event is seen
# that a crash of PostgreSQL takes back.
_EVENTS = """
    SELECT r.status, r.last_event, e.seq, e.kind, e.data, e.at,
        CASE WHEN e.seq IS NOT NULL THEN pg_logical_emit_message(true, 'streamworkers', '')::text END
    FROM client_runs r LEFT JOIN LATERAL (
        SELECT seq, kind, data, at FROM client_events WHERE run_id = r.id AND seq > %s ORDER BY seq LIMIT %s
    ) AS e ON true
    WHERE r.id = %s ORDER BY e.seq
"""
_SNAPSHOT = """
    SELECT r.status, r.last_event, jsonb_build_object('job', r.job, 'status', r.status, 'items', r.item_count,
        'completed', coalesce(r.completed_count, c.completed), 'failed', coalesce(r.failed_count, c.failed),
        'cancelled', coalesce(r.cancelled_count, c.cancelled), 'reason', r.reason), clock_timestamp()
    FROM client_runs r CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE status = 'completed') AS completed,
            count(*) FILTER (WHERE status = 'failed') AS failed,
            count(*) FILTER (WHERE status = 'cancelled') AS cancelled
        FROM client_items i WHERE r.completed_count IS NULL AND i.run_id = r.id) c
    WHERE r.id = %s
"""
_CANCEL = "SELECT status, items FROM cancel_client_run(%s)"
_JOBS = """
    SELECT name, queue, max_attempts, item_kind, params_schema::text
    FROM client_jobs ORDER BY name, seen_at
"""


class SqlDoor(Door):
    """ClientCalls by the functions and views of PostgreSQL."""

    checks_parameters = True
    waits = False

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

    def read_events(self, run_id: int, after: int, seconds: float) -> Steps[EventPage]:
        """Return the next events of a run, which there may be none of. Raises UnknownRunError."""
        rows = yield Query(_EVENTS, (after, _MOST_EVENTS, run_id), seconds=seconds)
        if not rows:
            raise _unknown_run(run_id)
        status, last = rows[0][:2]
        found = [RunEvent(run_id, *row[2:6]) for row in rows if row[2] is not None]
        events = [event for place, event in enumerate(found, after + 1) if event.seq == place]
        if not events and last != after:
            status, last, data, at = (yield Query(_SNAPSHOT, (run_id,), seconds=seconds))[0]
            events = [RunEvent(run_id, last, "resync", data, at)]
        reached = events[-1].seq if events else after
        return EventPage(events, status not in _OPEN_STATES and reached == last)

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
