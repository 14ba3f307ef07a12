"""`streamworkers schedules backfill` and `schedules missing`: runs for sessions that had none."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from streamworkers.actor import LOCAL
from streamworkers.cli.backfill_view import print_added, print_plan, watch_backfill
from streamworkers.cli.checked_text import check_since
from streamworkers.cli.schedule_files import warn
from streamworkers.cli.schedule_options import collect_fields
from streamworkers.cli.schedule_rows import format_local_time
from streamworkers.cli.session import (
    Day,
    Session,
    json_option,
    parse_since,
    print_json,
    print_table,
    timeout_option,
)
from streamworkers.database import Connection
from streamworkers.engine.redis.lanes import PRIORITIES, Priority
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.schedules import store
from streamworkers.schedules.backfills.done import MissingTick, list_missing
from streamworkers.schedules.backfills.period import AT_CLOSE, Period
from streamworkers.schedules.backfills.store import BACKFILL_PRIORITY, BackfillOptions, Subject, add_backfill
from streamworkers.schedules.backfills.subject import (
    plan_backfill,
    require_ticks,
    subject_of_job,
    subject_of_schedule,
)
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.problems import require_target
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import Timing

_NO_SCHEDULE = "backfill"  # the name of a definition that is none of a schedule
_USUAL_DAYS = 30


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The options of `schedules backfill` about the runs."""

    first: datetime
    last: datetime | None
    parallel: int
    again: bool
    priority: Priority


@click.command("backfill", short_help="Start one run for each session of a period.")
@click.argument("name", required=False)
@click.option("--from", "first", type=Day, required=True, help="The first session.")
@click.option("--to", "last", type=Day, help="The last session.  [default: today]")
@click.option("--job", help="Instead of a schedule: the job to run at the close of each session.")
@click.option("--universe", help="With --job: a universe, or several: 'sp500:nasdaq100'.")
@click.option("--symbols", help="With --job: symbols, separated by commas.")
@click.option("--timeframe", help="With --job: 1min, hour, day, week or month.")
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="With --job: a parameter of it.")
@click.option(
    "--calendar", help="With --job: the exchange whose sessions these are.  [default: STREAMWORKERS_CALENDAR]"
)
@click.option(
    "--parallel", type=click.IntRange(1, 100), default=2, show_default=True, help="The most runs that are open at once."
)
@click.option(
    "--priority",
    type=click.Choice(PRIORITIES),
    default=BACKFILL_PRIORITY,
    show_default=True,
    help="Whether its runs go before others of their queue.",
)
@click.option("--again", is_flag=True, help="Also sessions that have a successful run.")
@click.option("--dry-run", is_flag=True, help="Show what would be run, and start nothing.")
@click.option("--watch", is_flag=True, help="Show the progress until it has ended.")
@timeout_option
@json_option
def backfill(name: str | None, dry_run: bool, watch: bool, timeout: float | None, as_json: bool, **options: Any) -> int:
    """Start one run for each session from --from to --to that has no successful run, of schedule NAME or of --job.

    Each run sees what it would have seen at its tick. The backfill is stored: a scheduler starts its runs, a few at
    once, and goes on after any process was killed. Sessions of another backfill that is running are left to that one.
    """
    if timeout is not None and not watch:
        raise BadInputError("--timeout is the time to --watch: name both")
    wanted = _Wanted(*(options.pop(field) for field in ("first", "last", "parallel", "again", "priority")))
    session = Session.open()
    with session.database() as connection:
        subject, timing = _find_subject(connection, session, name, options)
        last = wanted.last.date() if wanted.last is not None else datetime.now(timing.zone).date()
        plan = plan_backfill(connection, subject, timing, Period(wanted.first.date(), last), again=wanted.again)
        if dry_run:
            print_plan(plan, timing, as_json)
            return 0
        chosen = BackfillOptions(wanted.parallel, wanted.again, LOCAL.user, wanted.priority)
        added = add_backfill(connection, subject, plan.period, plan.ticks, chosen, LOCAL)
        if watch and added.id is not None:
            return watch_backfill(connection, added.id, timeout=timeout, as_json=as_json)
        print_added(connection, plan, added, as_json)
    return 0


@click.command("missing", short_help="List sessions without a successful run.")
@click.argument("name", required=False)
@click.option(
    "--since", callback=check_since, help=f"Ticks since this date or ISO time.  [default: {_USUAL_DAYS} days ago]"
)
@json_option
def missing(name: str | None, since: str | None, as_json: bool) -> None:
    """List the ticks of schedule NAME, or of all, that have no successful run, with the reason.

    The state is `missed`, `skipped`, `rejected`, `failed`, `open`, `none` (no tick was recorded) or `unknown` (its run
    is not kept any more). `schedules backfill` starts runs for them.
    """
    with Session.open().database() as connection:
        now = store.database_clock(connection)
        start = parse_since(since) if since is not None else now - timedelta(days=_USUAL_DAYS)
        every = store.list_schedules(connection) if name is None else [store.require_schedule(connection, name)]
        rows: list[dict[str, Any]] = []
        for schedule in every:
            rows += _list_missing(connection, schedule, start, now, is_only=name is not None)
    if as_json:
        print_json([{field: value for field, value in row.items() if field != "at"} for row in rows])
        return
    columns = {"schedule": "schedule", "session": "session", "at": "tick", "state": "state", "run_id": "run"}
    print_table(rows, {**columns, "why": "why"}, "every session has a successful run")


def _list_missing(
    connection: Connection, schedule: Schedule, since: datetime, now: datetime, *, is_only: bool
) -> list[dict[str, Any]]:
    """The rows of a schedule; one of many that cannot be read is named, and does not hide the others."""
    try:
        found = list_missing(connection, schedule, since, now)
        zone = schedule.require_definition().timezone
    except BadInputError as error:
        if is_only:
            raise
        warn(f"{schedule.name}: {error}")
        return []
    return [_show_missing(each, zone) for each in found]


def _show_missing(each: MissingTick, zone: str) -> dict[str, Any]:
    return {
        "schedule": each.schedule,
        "session": each.tick.session,
        "scheduled_for": each.tick.moment.astimezone(UTC),
        "at": format_local_time(each.tick.moment, zone),
        "state": each.state,
        "why": each.why,
        "run_id": each.run_id,
    }


def _find_subject(
    connection: Connection, session: Session, name: str | None, options: dict[str, Any]
) -> tuple[Subject, Timing]:
    """What is to be run, and when it ticks: of a schedule, or of a job at the closes of its sessions."""
    fields = collect_fields({**options, "every": None})
    if name is not None and fields:
        raise BadInputError("name either a schedule, which says what its runs are, or --job with what belongs to it")
    if name is None and "job" not in fields:
        raise BadInputError("name a schedule, or a job with --job")
    registry = installed_jobs()
    if name is not None:
        schedule = store.require_schedule(connection, name)
        definition, subject = schedule.require_definition(), subject_of_schedule(schedule)
        timing = require_ticks(name, definition)
        definition.require_sound(registry)
    else:
        definition, timing = _define_job({"calendar": session.settings.calendar, **fields})
        subject = subject_of_job(definition)
        definition.require_startable(registry)
    require_target(connection, definition, None)
    return subject, timing


def _define_job(fields: dict[str, Any]) -> tuple[ScheduleDefinition, Timing]:
    try:
        definition = ScheduleDefinition.parse({"name": _NO_SCHEDULE, "cron": AT_CLOSE, **fields})
    except BadInputError as error:
        raise BadInputError(str(error).removeprefix(f"schedule {_NO_SCHEDULE!r}: ")) from None
    return definition, require_ticks(_NO_SCHEDULE, definition)
