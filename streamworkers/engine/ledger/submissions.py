"""Submitted runs: rows of `runs` without items, which a preparer claims, prepares or rejects.

A claim is committed before user code runs, and lasts a lease. So a preparer that dies leaves its runs to others, and a
run that ends every process that prepares it is known by its attempts. The attempt is also the fence: what is written
after a claim takes effect only if nobody has claimed the run since.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from streamworkers.database import Connection
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger.new_runs import add_counts, copy_items, ensure_partition, make_run
from streamworkers.engine.ledger.notices import with_notices
from streamworkers.engine.ledger.outbox import add_events
from streamworkers.engine.ledger.runs import Run
from streamworkers.engine.ledger.transitions import make_run_failed

SUBMITTED_NOTIFY = "streamworkers_submitted"  # PostgreSQL's channel; `submit_runs` and a trigger of `runs` use it too
_CLAIM = """
    UPDATE runs r SET prepare_attempts = prepare_attempts + 1,
        prepare_after = clock_timestamp() + make_interval(secs => %s)
    FROM (SELECT id FROM runs
          WHERE prepared_at IS NULL AND status = 'PENDING' AND NOT is_waiting AND job = ANY(%s) AND {due}
          ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) c
    WHERE r.id = c.id
    RETURNING r.id, r.job, r.prepare_attempts, r.request, r.as_of, r.parameters, r.target, r.requested_by, r.traceparent
"""
_CLAIM_NEW = _CLAIM.format(due="prepare_attempts = 0")
_CLAIM_AGAIN = _CLAIM.format(due="prepare_attempts > 0 AND prepare_after <= clock_timestamp()")
# Fenced by the attempt. `run_day` is that of the partition into which the items go.
_PREPARE = """
    UPDATE runs r SET prepared_at = clock_timestamp(), prepare_after = NULL, request = NULL,
        run_day = (now() AT TIME ZONE 'UTC')::date, queue = p.queue, target = p.target, timeframe = p.timeframe,
        as_of = p.as_of, parameters = p.parameters::jsonb, item_count = p.item_count, max_attempts = p.max_attempts,
        reason = p.note
    FROM unnest(%s::bigint[], %s::smallint[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[],
                %s::integer[], %s::integer[], %s::text[])
        AS p(run_id, attempt, queue, target, timeframe, as_of, parameters, item_count, max_attempts, note)
    WHERE r.id = p.run_id AND r.prepare_attempts = p.attempt AND r.prepared_at IS NULL AND r.status = 'PENDING'
    RETURNING r.id, r.run_day
"""
_END_EMPTY = """
    UPDATE runs SET status = 'COMPLETED', enqueued_at = prepared_at, started_at = prepared_at,
        completed_at = prepared_at, completed_count = 0, failed_count = 0, cancelled_count = 0
    WHERE id = ANY(%s)
"""
_REJECT = """
    UPDATE runs SET status = 'FAILED', reason = %s, prepare_after = NULL, started_at = clock_timestamp(),
        completed_at = clock_timestamp(), completed_count = 0, failed_count = 0, cancelled_count = 0
    WHERE id = %s AND prepare_attempts = %s AND prepared_at IS NULL AND status = 'PENDING' RETURNING id
"""
_UNCLAIM = """
    UPDATE runs r SET prepare_attempts = r.prepare_attempts - %s,
        prepare_after = clock_timestamp() + make_interval(secs => %s)
    FROM unnest(%s::bigint[], %s::smallint[]) AS c(run_id, attempt)
    WHERE r.id = c.run_id AND r.prepare_attempts = c.attempt AND r.prepared_at IS NULL AND r.status = 'PENDING'
"""
_SUBMIT = "SELECT id, run_id, is_new, warnings FROM submit_runs(%s) ORDER BY place"


class SubmittedRun(NamedTuple):
    """The run that a submitted request has, whether it is new, and what may be wrong with the request."""

    id: int
    run_id: str
    is_new: bool
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A submitted run that this process may prepare; `attempt` counts the claims."""

    id: int
    job: str
    attempt: int
    request: dict[str, Any]
    as_of: datetime | None
    parameters: dict[str, Any]
    target: str
    requested_by: str | None
    traceparent: str | None

    def to_request(self) -> RunRequest:
        """Return the request as it was submitted: the universe and the timeframes are not resolved yet."""
        wanted = self.request
        return RunRequest(
            job=self.job,
            symbols=tuple(wanted.get("symbols") or wanted.get("items") or ()),
            target=self.target,
            timeframe=wanted.get("timeframe"),
            as_of=self.as_of,
            parameters=self.parameters,
            max_attempts=wanted.get("max_attempts"),
            priority=wanted.get("priority"),
            origin=Origin(requested_by=self.requested_by),
            timeframes=tuple(wanted.get("timeframes") or ()),
            universe=wanted.get("universe"),
            traceparent=self.traceparent,
        )


@dataclass(frozen=True, slots=True)
class PreparedRun:
    """A claimed run with its items, and what its job says about it."""

    claim: ClaimedRun
    request: RunRequest
    queue: str
    max_attempts: int

    def as_run(self, run_day: date) -> Run:
        """Return the run whose items are in the partition of that day."""
        request = self.request if self.request.job == self.claim.job else replace(self.request, job=self.claim.job)
        return make_run(self.claim.id, run_day, request, self.queue, self.max_attempts)


def submit(connection: Connection, requests: Sequence[dict[str, Any]]) -> list[SubmittedRun]:
    """Call `submit_runs` in the caller's transaction. Raises what it raises, as psycopg does."""
    rows = connection.execute(_SUBMIT, (Jsonb(list(requests)),))
    return [SubmittedRun(run, str(uuid), is_new, warnings) for run, uuid, is_new, warnings in rows]


def set_origin(connection: Connection, run_id: int, origin: Origin) -> None:
    """Record why a run exists that was submitted in this transaction; a submitted run has no schedule by itself."""
    connection.execute(
        "UPDATE runs SET trigger = %s, schedule_id = %s, schedule = %s, scheduled_for = %s WHERE id = %s",
        (origin.trigger, origin.schedule_id, origin.schedule, origin.scheduled_for, run_id),
    )


def claim_submitted(connection: Connection, jobs: Sequence[str], limit: int, lease_seconds: float) -> list[ClaimedRun]:
    """Claim up to `limit` runs that nobody has tried to prepare, or else one that was claimed before, on its own."""
    for statement, most in ((_CLAIM_NEW, limit), (_CLAIM_AGAIN, 1)):
        rows = connection.execute(statement, (lease_seconds, list(jobs), most)).fetchall()
        if rows:
            return sorted((ClaimedRun(*row) for row in rows), key=lambda claimed: claimed.id)
    return []


def record_prepared(connection: Connection, prepared: Sequence[PreparedRun]) -> list[tuple[Run, RunRequest]]:
    """Insert the items of claimed runs, all or nothing; returns the runs that were still ours to prepare."""
    by_id = {each.claim.id: each for each in prepared}
    with connection.transaction():
        ensure_partition(connection)
        rows = connection.execute(_PREPARE, _list_columns(prepared)).fetchall()
        runs = [(by_id[run_id].as_run(run_day), by_id[run_id].request) for run_id, run_day in sorted(rows)]
        filled = [(run, request) for run, request in runs if run.item_count]
        if filled:
            copy_items(connection, filled)
        if len(filled) < len(runs):
            connection.execute(_END_EMPTY, ([run.id for run, _ in runs if not run.item_count],))
        if filled:
            add_counts(connection, [run for run, _ in filled])
    return runs


def reject_submitted(connection: Connection, claimed: ClaimedRun, reason: str) -> bool:
    """End a claimed run as failed, with the reason and the event of a failed run; False if it is not ours any more."""
    with connection.transaction():
        row = connection.execute(_REJECT, (reason, claimed.id, claimed.attempt)).fetchone()
        if row is not None:
            failure = make_run_failed(claimed.id, claimed.job, "FAILED", reason=reason)
            add_events(connection, with_notices(connection, [failure]))
    return row is not None


def release_claims(connection: Connection, claims: Iterable[ClaimedRun]) -> None:
    """Give claimed runs back, as if they had not been claimed: nothing was tried, or a service was away."""
    _unclaim(connection, claims, 1, 0.0)


def retry_later(connection: Connection, claimed: ClaimedRun, seconds: float) -> None:
    """Keep the attempt of a claimed run, and let it be claimed again after a pause."""
    _unclaim(connection, [claimed], 0, seconds)


def _unclaim(connection: Connection, claims: Iterable[ClaimedRun], returned: int, seconds: float) -> None:
    held = list(claims)
    if held:
        words = ([each.id for each in held], [each.attempt for each in held])
        connection.execute(_UNCLAIM, (returned, seconds, *words))


def _list_columns(prepared: Sequence[PreparedRun]) -> list[list[Any]]:
    rows = [
        (
            each.claim.id,
            each.claim.attempt,
            each.queue,
            each.request.target,
            each.request.timeframe,
            each.request.as_of,
            json.dumps(each.request.parameters or {}),
            each.request.item_count,
            each.request.max_attempts or each.max_attempts,
            each.request.note if not each.request.symbols else None,
        )
        for each in prepared
    ]
    return [list(column) for column in zip(*rows, strict=True)]
