"""`streamworkers schedules at`: one run of a job at a moment, by a schedule that ticks once."""

import re
from datetime import datetime
from typing import Any

import click

from streamworkers.cli.schedule_options import collect_fields, once_options
from streamworkers.cli.schedule_rows import format_local_time, to_json
from streamworkers.cli.session import Session, json_option, print_json
from streamworkers.cli.unknown_symbols import warn_of_unknown_symbols
from streamworkers.database import Connection
from streamworkers.engine.registry import installed_jobs
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.once import write_once
from streamworkers.schedules.timing import zone_named
from streamworkers.schedules.written_times import parse_time_in_zone

_MOST_OF_A_JOB = 40


@click.command(short_help="Run a job once, at a moment.")
@click.argument("job")
@click.argument("when")
@click.option("--name", help="The name of the schedule.  [default: the job and the time]")
@once_options
@json_option
def at(job: str, when: str, name: str | None, as_json: bool, **options: Any) -> None:
    """Run JOB once, at the time WHEN in --timezone, such as 2026-12-01T19:00, or with an offset.

    It is stored as a schedule that ticks once, so `list`, `next`, `pause`, `edit` and `history` show and change it, and
    `remove` cancels it.
    """
    fields = collect_fields(options)
    zone = zone_named(fields.get("timezone", "America/New_York"))
    moment = parse_time_in_zone(when, zone)
    registry = installed_jobs()
    with Session.open().database() as connection, connection.transaction():
        store.lock_edits(connection)
        chosen = name if name is not None else _choose_name(connection, job, moment.astimezone(zone))
        definition = ScheduleDefinition.parse({"name": chosen, "job": job, "cron": write_once(moment, zone), **fields})
        definition.require_sound(registry)
        definition.require_ticks(store.database_clock(connection))
        store.save_schedule(connection, definition)
        warn_of_unknown_symbols(connection, registry[definition.job], definition.symbols)
        row = to_json(store.require_schedule(connection, chosen), {})
    if as_json:
        print_json(row)
    else:
        click.echo(f"schedule {chosen} added; it ticks once, at {format_local_time(moment, definition.timezone)}")
        click.echo(f"cancel it: streamworkers schedules remove {chosen}")


def _choose_name(connection: Connection, job: str, local: datetime) -> str:
    """The job and the time; with a number behind it if that is taken."""
    words = re.sub(r"[^a-z0-9]+", "_", job.lower()).strip("_")[:_MOST_OF_A_JOB]
    name, number = f"{words}_at_{local:%Y%m%d_%H%M}", 1
    while store.find_schedule(connection, name if number == 1 else f"{name}_{number}") is not None:
        number += 1
    return name if number == 1 else f"{name}_{number}"
