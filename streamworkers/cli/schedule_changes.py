"""What a change of a schedule does to its ticks: those that are due, and those to come before and after it."""

from datetime import datetime
from itertools import islice, zip_longest
from typing import Any

import click

from streamworkers.cli.schedule_rows import format_local_time
from streamworkers.cli.session import print_json, print_table
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.due_report import DueTicks, describe_due_ticks

_SHOWN = 5


def print_planned_change(
    before: ScheduleDefinition, after: ScheduleDefinition, now: datetime, due: DueTicks, as_json: bool
) -> None:
    """Show the ticks after `now` of both definitions, and what would happen to those that are due."""
    old, new = (_list_ticks(each, now) for each in (before, after))
    if as_json:
        print_json({"name": after.name, "dry_run": True, "before": old, "after": new, "due_ticks": due})
        return
    rows: list[dict[str, Any]] = [
        {"before": format_local_time(left, before.timezone), "after": format_local_time(right, after.timezone)}
        for left, right in zip_longest(old, new)
    ]
    print_table(rows, {"before": "next ticks before", "after": "after"}, "it has no ticks, before and after")
    if text := describe_due_ticks(due):
        click.echo(text)
    click.echo("nothing was changed")


def _list_ticks(definition: ScheduleDefinition, now: datetime) -> list[datetime]:
    if definition.timing is None or not definition.enabled:
        return []
    return [tick.moment for tick in islice(definition.timing.after(now), _SHOWN)]
