"""When a run starts and who is called at its end: the options that say so, and what it waits for, in words."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from typing import Any, TypeVar

import click

from streamworkers.alerts.duration import parse_duration
from streamworkers.cli.checked_text import check_duration
from streamworkers.cli.run_webhooks import WEBHOOK_OPTIONS, read_webhook
from streamworkers.engine.job import RunRequest
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import show_moment_there
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.schedules.written_times import parse_time_in_zone

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS = (
    click.option(
        "--at",
        metavar="TIME",
        help="Start at this time, such as 2026-11-27T18:30, of New York unless it names an offset.",
    ),
    click.option(
        "--in", "delay", callback=check_duration, metavar="DURATION", help="Start after this time: 90s, 5m, 2h or 1d."
    ),
    click.option(
        "--after",
        multiple=True,
        type=click.IntRange(1, 2**63 - 1),
        metavar="RUN",
        help="Start when this run has ended; repeatable.",
    ),
    click.option(
        "--after-when",
        type=click.Choice(["completed", "ended"]),
        help="How it must end: COMPLETED, or in any state. If it ends otherwise, this run is cancelled.  [default:"
        " completed]",
    ),
    *WEBHOOK_OPTIONS,
)


def start_options(command: F) -> F:
    """The options that say when a run starts, and who is called at its end."""
    return reduce(lambda found, option: option(found), reversed(_OPTIONS), command)


def start_later(request: RunRequest, options: Mapping[str, Any]) -> RunRequest:
    """Return the request with the start and the webhook that the options name. Raises BadInputError."""
    at, delay, after = options["at"], options["delay"], options["after"]
    if at is not None and delay is not None:
        raise BadInputError("name either --at or --in, not both")
    if delay is not None and request.idempotency_key is not None:
        raise BadInputError("--in with --key means another time at each repetition: name the time with --at")
    if options["after_when"] is not None and not after:
        raise BadInputError("--after-when says how the run of --after must end: name both")
    webhook = read_webhook(options["webhook"], options["webhook_secret"])
    start_at = parse_time_in_zone(at, EXCHANGE_ZONE) if at is not None else None
    if delay is not None:
        start_at = datetime.now(UTC) + parse_duration(delay)
    return replace(request, start_at=start_at, after=after, after_when=options["after_when"], webhook=webhook)


def describe_wait(row: Mapping[str, Any]) -> str | None:
    """What a run waits for, by its row as `read_run` returns it: `until …`, `for run 17`; None if it does not wait."""
    if not row["is_waiting"]:
        return None
    words = [f"until {show_moment_there(row['start_at'])}"] if row["start_at"] else []
    awaited = [_describe_awaited(each) for each in row["after"] or () if not _has_ended(each)]
    return " and ".join([*words, *awaited]) or "for a worker or scheduler to look at it"


def _has_ended(awaited: Mapping[str, Any]) -> bool:
    return awaited["status"] not in ("PENDING", "RUNNING")


def _describe_awaited(awaited: Mapping[str, Any]) -> str:
    how = "be COMPLETED" if awaited["needs"] == "completed" else "end"
    return f"for run {awaited['run_id']} ({awaited['status']}) to {how}"
