"""Runs as programs see them: by number or UUID, in pages, and only those that a user may see. Reads only.

A run belongs to the user who requested it, or to nobody: then all may see it. A page is bounded by the id of the last
run of the page before, so that none is skipped and none is seen twice, whatever is added meanwhile.
"""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from streamworkers.database import Connection, fetch_row, fetch_rows
from streamworkers.engine.ledger.runs import PRIORITY_OF_RUN, Run
from streamworkers.engine.ledger.webhooks import WEBHOOK_OF_RUN

Row = dict[str, Any]

_RUN = """
    SELECT r.id, r.run_uuid AS run_id, r.job, split_part(r.queue, '/', 1) AS queue, {priority},
        r.status, r.target, r.timeframe, r.as_of, r.parameters,
        r.item_count, r.completed_count, r.failed_count, r.cancelled_count, r.stale_count, r.max_attempts, r.trigger,
        r.schedule, r.scheduled_for, o.owner AS "user", coalesce(r.submit_key, r.idempotency_key) AS key,
        r.created_at, r.prepared_at, r.started_at, r.completed_at, r.reason, r.last_event, r.start_at,
        r.is_waiting AND r.status = 'PENDING' AS is_waiting,
        coalesce(d.awaited, '{{}}') AS "after", d.needs AS after_when, {webhook}{more}
    FROM {source} r CROSS JOIN LATERAL (
        SELECT (SELECT id FROM users WHERE id = r.requested_by AND id <> 'local') AS owner) o
    CROSS JOIN LATERAL (
        -- A run that has waited is not prepared, or was ready at a moment: the others are not looked up.
        SELECT array_agg(awaited_id ORDER BY awaited_id) AS awaited, min(needs) AS needs FROM run_dependencies
        WHERE run_id = r.id AND (r.prepared_at IS NULL OR r.ready_at IS NOT NULL)) d
    WHERE (%(viewer)s::text IS NULL OR o.owner IS NULL OR o.owner = %(viewer)s)"""
# Only what is asked for stands in the statement, so that the planner sees which index serves it.
_CONDITIONS = {
    "job": "r.job = %(job)s",
    "status": "r.status = %(status)s",
    "user": "o.owner = %(user)s AND r.requested_by = %(user)s",
    "schedule": "r.schedule = %(schedule)s",
    "since": "r.created_at >= %(since)s",
    "before_id": "r.id < %(before_id)s",
}
# In these words, so that the planner finds the index that leaves out most runs.
_NOT_COMPLETED = " AND r.status <> 'COMPLETED'"
_ITEMS = """
    SELECT seq, symbol, timeframe, status, attempt, generation, worker, error, started_at, finished_at, result, history
    FROM run_items
    WHERE run_day = %(day)s AND run_id = %(run)s AND seq > %(after)s
        AND (%(status)s::text IS NULL OR status = %(status)s) AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s)
    ORDER BY seq LIMIT %(limit)s
"""

# The columns of the view `job_executions`.
_EXECUTIONS = """
    SELECT r.id, r.job AS job_name, r.started_at, r.completed_at,
        extract(epoch FROM r.completed_at - r.started_at)::float8 AS duration_seconds,
        r.status = 'COMPLETED' AS success,
        jsonb_build_object('run_id', r.id, 'status', r.status, 'items', r.item_count, 'completed', r.completed_count,
            'failed', r.failed_count, 'cancelled', r.cancelled_count, 'schedule', r.schedule) AS result,
        CASE WHEN r.status IN ('FAILED', 'COMPLETED_WITH_ERRORS')
            THEN coalesce(r.reason, r.failed_count || ' of ' || r.item_count || ' items failed') END AS error
    FROM runs r
    WHERE r.completed_at IS NOT NULL AND (%(name)s::text IS NULL OR r.job = %(name)s OR r.schedule = %(name)s)
        AND (%(viewer)s::text IS NULL OR r.requested_by = %(viewer)s OR r.requested_by IS NULL
             OR NOT EXISTS (SELECT FROM users u WHERE u.id = r.requested_by AND u.id <> 'local'))
    ORDER BY r.completed_at DESC, r.id DESC LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are wanted; every field that is set must match. `before_id` is where the page before ended."""

    job: str | None = None
    status: str | None = None
    user: str | None = None
    schedule: str | None = None
    since: datetime | None = None
    before_id: int | None = None


def list_visible_runs(connection: Connection, viewer: str | None, wanted: RunFilter, limit: int) -> list[Row]:
    """Return the newest runs that match and that a user may see; None sees all."""
    statement, values = choose_runs(viewer, wanted)
    return fetch_rows(connection, f"{statement} ORDER BY r.id DESC LIMIT %(limit)s", {**values, "limit": limit})


def choose_runs(viewer: str | None, wanted: RunFilter, *, source: str = "runs", more: str = "") -> tuple[str, Row]:
    """Return the statement, without an order, for runs that match and that a user may see, and its parameters.

    `source` is where they are read from, and `more` are further columns.
    """
    given = {name: value for name, value in asdict(wanted).items() if value is not None}
    conditions = "".join(f" AND {_CONDITIONS[name]}" for name in given)
    if wanted.status not in (None, "COMPLETED"):
        conditions += _NOT_COMPLETED
    statement = _RUN.format(source=source, more=more, priority=PRIORITY_OF_RUN, webhook=WEBHOOK_OF_RUN)
    return statement + conditions, {**given, "viewer": viewer}


def find_visible_run(connection: Connection, viewer: str | None, *, number: int | None, uuid: str | None) -> Row | None:
    """Return the run with this number or this UUID if the user may see it, else None."""
    condition = "r.id = %(number)s::bigint" if number is not None else "r.run_uuid = %(uuid)s::uuid"
    statement, _ = choose_runs(viewer, RunFilter())
    return fetch_row(connection, f"{statement} AND {condition}", {"viewer": viewer, "number": number, "uuid": uuid})


def list_executions(connection: Connection, viewer: str | None, name: str | None, limit: int) -> list[Row]:
    """Return the runs that ended last, of a job or a schedule with this name, as the replaced systems showed them."""
    return fetch_rows(connection, _EXECUTIONS, {"viewer": viewer, "name": name, "limit": limit})


def list_run_items(
    connection: Connection, run: Run, after: int, limit: int, *, status: str | None = None, symbol: str | None = None
) -> list[Row]:
    """Return the items of a run behind this seq, by seq."""
    words = {"day": run.run_day, "run": run.id, "after": after, "limit": limit, "status": status, "symbol": symbol}
    return fetch_rows(connection, _ITEMS, words)
