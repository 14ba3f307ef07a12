"""What people are notified of about the pool itself: events for the outbox, in the transaction of what they report."""

from collections.abc import Sequence
from datetime import UTC, datetime

from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine.ledger.job_types import find_silent_jobs
from streamworkers.engine.outcome import Event, make_notice

_MOST_TEXT = 2_000


def with_notices(connection: Connection, failures: Sequence[Event]) -> list[Event]:
    """Return events of failed runs, each with one that notifies the user of system notifications.

    Runs of jobs that fail without a notification have none.
    """
    user = load_settings().system_user
    silent = find_silent_jobs(connection, {event.payload["job"] for event in failures})
    reported = [event for event in failures if event.payload["job"] not in silent]
    return [*failures, *(_notice(user, event) for event in reported)]


def _notice(user: str, failure: Event) -> Event:
    run = failure.payload
    error = next((str(each["error"]) for each in run["failures"]), None)
    counts = {"failed": run["failed"], "total": run["items"], "stale": run["stale"]}
    data = {"run_id": run["run_id"], "job": run["job"], "schedule": run["schedule"], "status": run["status"], **counts}
    reason = run.get("reason") or error
    if reason:
        data["reason"] = str(reason)[:_MOST_TEXT]
    elif run["stale"]:
        data["reason"] = f"{run['stale']} of {run['items']} symbols are stale"
    ended = datetime.now(UTC).isoformat(timespec="milliseconds")  # a run that is retried can fail again
    return make_notice(user, "run_failed", f"run_failed:{run['run_id']}:{ended}", data, priority="high")
