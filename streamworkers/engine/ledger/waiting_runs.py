"""Submitted runs that wait: for a moment, for the end of other runs, or for both.

A row of `run_checks` says when to look at such a run: when it was submitted, when its time comes, and when a run that
it waits for ends, which a trigger writes in the transaction that ends it. A look decides by what is there then: the run
is ready, and a preparer claims it as any other; it is cancelled; or it waits for the next look.

An end in a transaction that is open during the look is not missed: the look locks the rows of open runs that are
waited for, and looks again in a second if one is locked.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from streamworkers.database import Connection
from streamworkers.engine.job import AfterWhen
from streamworkers.engine.ledger.notices import with_notices
from streamworkers.engine.ledger.outbox import add_events
from streamworkers.engine.ledger.runs import OPEN_RUN_STATES
from streamworkers.engine.ledger.submissions import SUBMITTED_NOTIFY
from streamworkers.engine.ledger.transitions import make_run_failed

_AGAIN = timedelta(seconds=1)
# Not `clock_timestamp()`, which no index can be searched for.
_TAKE_CHECKS = """
    DELETE FROM run_checks WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM run_checks WHERE at <= now() ORDER BY at LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING run_id
"""
_WAITING = "SELECT id FROM runs WHERE id = ANY(%s) AND is_waiting AND status = 'PENDING' ORDER BY id"
_LOCK = """
    SELECT id, job, start_at, now() FROM runs WHERE id = ANY(%s) AND is_waiting AND status = 'PENDING'
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
"""
_DEPENDENCIES = """
    SELECT d.run_id, d.awaited_id, d.needs, d.met_at IS NOT NULL, r.status
    FROM run_dependencies d LEFT JOIN runs r ON r.id = d.awaited_id WHERE d.run_id = ANY(%s) ORDER BY d.awaited_id
"""
_LOCK_AWAITED = "SELECT id, status FROM runs WHERE id = ANY(%s) ORDER BY id FOR SHARE SKIP LOCKED"
_SET_MET = """
    UPDATE run_dependencies d SET met_at = CASE WHEN m.is_met THEN coalesce(d.met_at, clock_timestamp()) END
    FROM unnest(%s::bigint[], %s::bigint[], %s::boolean[]) AS m(run_id, awaited_id, is_met)
    WHERE d.run_id = m.run_id AND d.awaited_id = m.awaited_id
"""
_MAKE_READY = """
    UPDATE runs SET is_waiting = false, prepare_attempts = 0, ready_at = clock_timestamp() WHERE id = ANY(%s)
"""
_CANCEL = """
    UPDATE runs r SET status = 'CANCELLED', is_waiting = false, prepare_attempts = 0, reason = c.reason,
        completed_at = clock_timestamp(), completed_count = 0, failed_count = 0, cancelled_count = 0
    FROM unnest(%s::bigint[], %s::text[]) AS c(run_id, reason) WHERE r.id = c.run_id
"""
_ADD_CHECKS = "INSERT INTO run_checks (run_id, at) SELECT * FROM unnest(%s::bigint[], %s::timestamptz[])"
_READ_AWAITED = """
    SELECT d.awaited_id, d.needs, r.status FROM run_dependencies d LEFT JOIN runs r ON r.id = d.awaited_id
    WHERE d.run_id = %s ORDER BY d.awaited_id
"""


class AwaitedRun(NamedTuple):
    """A run that another one waits for; `is_met` if it was seen to have ended so; no `status` if it is removed."""

    id: int
    needs: AfterWhen
    is_met: bool
    status: str | None
    is_busy: bool = False

    @property
    def has_ended_so(self) -> bool:
        """True if it has ended as needed; of a run that was removed since, as it was seen last."""
        if self.status is None:
            return self.is_met
        return self.status == "COMPLETED" or (self.needs == "ended" and self.status not in OPEN_RUN_STATES)

    @property
    def is_open(self) -> bool:
        """True if it can still end as needed."""
        return self.status in OPEN_RUN_STATES

    def describe_miss(self) -> str:
        """Why a run that waits for it is not started."""
        if self.status is None:
            return f"it waited for run {self.id}, which is there no more"
        return f"it waited for run {self.id} to be COMPLETED, and that is {self.status}"


@dataclass(frozen=True, slots=True)
class WaitDecision:
    """The outcome of a look at a run that waits: it is ready, it is cancelled for a reason, or it is looked at again.

    Without a time it is looked at when a run that it waits for ends.
    """

    action: Literal["ready", "cancel", "wait"]
    reason: str | None = None
    look_at: datetime | None = None


class Checked(NamedTuple):
    """How many checks were taken, and what came of them."""

    taken: int
    ready: int
    cancelled: int


def decide_wait(start_at: datetime | None, awaited: Sequence[AwaitedRun], now: datetime) -> WaitDecision:
    """Decide about a run that is not to start before a moment and not before other runs have ended. Pure."""
    missed = next((each for each in awaited if not each.has_ended_so and not each.is_open), None)
    if missed is not None:
        return WaitDecision("cancel", missed.describe_miss())
    if any(each.is_open and each.is_busy for each in awaited):
        return WaitDecision("wait", look_at=now + _AGAIN)
    if any(each.is_open for each in awaited):
        return WaitDecision("wait")
    if start_at is not None and start_at > now:
        return WaitDecision("wait", look_at=start_at)
    return WaitDecision("ready")


def check_waiting_runs(connection: Connection, limit: int) -> Checked:
    """Take up to so many checks that are due, and decide about their runs, in one transaction."""
    with connection.transaction():
        taken = [run_id for (run_id,) in connection.execute(_TAKE_CHECKS, (limit,))]
        if not taken:
            return Checked(0, 0, 0)
        waiting = [run_id for (run_id,) in connection.execute(_WAITING, (taken,))]
        rows = connection.execute(_LOCK, (waiting,)).fetchall()
        awaited = _read_dependencies(connection, [run_id for run_id, *_ in rows])
        decided = {run_id: decide_wait(start, awaited[run_id], now) for run_id, _, start, now in rows}
        _write(connection, decided, {run_id: job for run_id, job, *_ in rows})
        busy = sorted(set(waiting) - decided.keys())
        if busy:
            connection.execute(
                "INSERT INTO run_checks (run_id, at) SELECT unnest(%s::bigint[]), now() + %s", (busy, _AGAIN)
            )
    actions = [decision.action for decision in decided.values()]
    return Checked(len(taken), actions.count("ready"), actions.count("cancel"))


def read_awaited(connection: Connection, run_id: int) -> list[tuple[int, AfterWhen, str | None]]:
    """Return the runs that a run comes after, each with what it needs of it and its state; None if it is removed."""
    return connection.execute(_READ_AWAITED, (run_id,)).fetchall()


def _read_dependencies(connection: Connection, run_ids: Sequence[int]) -> Mapping[int, list[AwaitedRun]]:
    """Read what runs wait for; the rows of open ones are locked, so that each ends before the look or after it."""
    rows = connection.execute(_DEPENDENCIES, (list(run_ids),)).fetchall()
    still_open = sorted({awaited for _, awaited, _, _, status in rows if status in OPEN_RUN_STATES})
    locked: dict[int, str] = dict(connection.execute(_LOCK_AWAITED, (still_open,)).fetchall()) if still_open else {}
    found: defaultdict[int, list[AwaitedRun]] = defaultdict(list)
    seen: list[tuple[int, int, bool]] = []
    for run_id, awaited, needs, was_met, status in rows:
        is_busy = status in OPEN_RUN_STATES and awaited not in locked
        each = AwaitedRun(awaited, needs, was_met, locked.get(awaited, status), is_busy)
        found[run_id].append(each)
        if each.has_ended_so != was_met:
            seen.append((run_id, awaited, each.has_ended_so))
    if seen:
        connection.execute(_SET_MET, [list(column) for column in zip(*seen, strict=True)])
    return found


def _write(connection: Connection, decided: Mapping[int, WaitDecision], jobs: Mapping[int, str]) -> None:
    ready = [run_id for run_id, decision in decided.items() if decision.action == "ready"]
    if ready:
        connection.execute(_MAKE_READY, (ready,))
        # This preparer may not have their jobs.
        connection.execute("SELECT pg_notify(%s, '')", (SUBMITTED_NOTIFY,))
    later = [(run_id, each.look_at) for run_id, each in decided.items() if each.look_at is not None]
    if later:
        connection.execute(_ADD_CHECKS, [list(column) for column in zip(*later, strict=True)])
    _cancel(connection, {run_id: each.reason for run_id, each in decided.items() if each.reason is not None}, jobs)


def _cancel(connection: Connection, reasons: Mapping[int, str], jobs: Mapping[int, str]) -> None:
    """End runs as cancelled, each with its reason, and with the event of a run that did not do what it was to."""
    if not reasons:
        return
    connection.execute(_CANCEL, (list(reasons), list(reasons.values())))
    events = [make_run_failed(run, jobs[run], "CANCELLED", reason=reason) for run, reason in reasons.items()]
    add_events(connection, with_notices(connection, events))
