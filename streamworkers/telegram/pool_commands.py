"""Commands about runs, schedules and processes, for those with the scope `ops`. They read, and change nothing."""

from datetime import datetime
from typing import Any

from streamworkers.database import Connection
from streamworkers.diagnosis.recorded_health import read_recorded_health
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.engine.ledger.reports import list_open_runs, list_runs, read_run
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.notifications.content import Content
from streamworkers.schedules.store import list_schedules
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.commands import PlainCommand, ShowRun

_RUNS = 10
_SHOWN = 15
_OPEN_RUNS = 100


def answer_runs(connection: Connection, _: Asker, __: PlainCommand) -> Content:
    """The newest runs, newest first."""
    rows = list_runs(connection, job=None, status=None, limit=_RUNS)
    return Content("Newest runs", tuple(map(_show_run, rows))) if rows else Content("No runs yet")


def answer_run(connection: Connection, _: Asker, command: ShowRun) -> Content:
    """One run with its counts and its reason."""
    row = read_run(connection, command.number)
    if row is None:
        raise BadInputError(f"there is no run {command.number}")
    counts = f"{row['completed_count'] or 0} completed, {row['failed_count'] or 0} failed"
    lines = [
        f"{row['status']}: {row['item_count']} items, {counts}",
        f"about {row['target']}"[:200],
        f"created {_show_moment(row['created_at'])}",
        f"ended {_show_moment(row['completed_at'])}" if row["completed_at"] else "not ended yet",
        *([str(row["reason"])[:500]] if row.get("reason") else []),
    ]
    return Content(f"Run {command.number} of {row['job']}", tuple(lines))


def answer_schedule(connection: Connection, _: Asker, __: PlainCommand) -> Content:
    """What runs when, the next first."""
    found = list_schedules(connection)
    due = sorted((each for each in found if each.next_run_at is not None), key=lambda each: str(each.next_run_at))
    lines = [f"{_show_moment(each.next_run_at)}: {each.name}" for each in due]
    lines += [f"{each.name}: no next tick" for each in found if each.next_run_at is None]
    return Content("Schedules", tuple(lines[:_SHOWN]), tuple(lines[_SHOWN:])) if found else Content("No schedules")


def answer_status(connection: Connection, _: Asker, __: PlainCommand) -> Content:
    """Processes, and the runs that are open."""
    processes = read_processes(connection)
    silent = [each for each in processes if each.is_silent]
    kinds: dict[str, int] = {}
    for each in processes:
        kinds[each.kind] = kinds.get(each.kind, 0) + (not each.is_silent)
    rows = list_open_runs(connection, _OPEN_RUNS)
    count = f"{_OPEN_RUNS} or more" if len(rows) == _OPEN_RUNS else str(len(rows))
    lines = [", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in kinds.items()) or "no process runs"]
    lines += [f"{each.kind} on {each.host} has been silent for {each.unseen_seconds:.0f} s" for each in silent]
    lines += [f"{count} open runs", *map(_show_run, rows[:_RUNS])]
    return Content("Status", tuple(lines))


def answer_health(connection: Connection, _: Asker, __: PlainCommand) -> Content:
    """The newest recorded result of each health check, the worst first."""
    found = read_recorded_health(connection)
    if not found:
        return Content("Health", ("No health check is recorded: the job health_check has not run.",))
    oldest = min(each.checked_at for each in found)
    worst = next((each.status for each in found if each.status != "ok"), "ok")
    lines = [f"{each.component}: {each.status}, {each.message}"[:300] for each in found]
    return Content(f"Health: {worst}", (*lines, f"as of {_show_moment(oldest)}"))


def _show_run(row: dict[str, Any]) -> str:
    failed = f", {row['failed_count']} failed" if row.get("failed_count") else ""
    number = row.get("run_id") or row.get("id")
    return f"{number} {row['job']}: {row['status']}, {row['item_count']} items{failed}"


def _show_moment(moment: datetime | None) -> str:
    return "never" if moment is None else moment.astimezone(EXCHANGE_ZONE).strftime("%Y-%m-%d %H:%M %Z")
