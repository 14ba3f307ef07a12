"""`streamworkers schedules audit`: whether each tick of a period has its row."""

from datetime import timedelta
from typing import Any

import click

from streamworkers.cli.checked_text import check_since
from streamworkers.cli.schedule_files import warn
from streamworkers.cli.session import Session, json_option, parse_since, print_json, print_table
from streamworkers.errors import BadInputError
from streamworkers.schedules.account import TickPeriod
from streamworkers.schedules.store import database_clock
from streamworkers.schedules.tick_accounts import ScheduleAccount, account_for

_INSTANT = timedelta(microseconds=1)
_USUAL = timedelta(days=1)
_MOST_SHOWN = 100
_COLUMNS = ("schedule", "ticks", "rows", "moved", "undecided", "missing", "extra", "doubled")


@click.command(short_help="Compare ticks with their rows.")
@click.argument("name", required=False)
@click.option(
    "--since", callback=check_since, help="Ticks due since this date or ISO time, in New York.  [default: a day ago]"
)
@click.option(
    "--until", callback=check_since, help="Ticks due before this date or ISO time, in New York.  [default: now]"
)
@json_option
def audit(name: str | None, since: str | None, until: str | None, as_json: bool) -> int:
    """Compare the ticks that schedule NAME had by its times, or each schedule, with their rows.

    Removed schedules are included. The exit code is 1 if a tick is missing or doubled, or a row stands for no tick.
    """
    first, last = (parse_since(text) if text is not None else None for text in (since, until))
    with Session.open().database() as connection:
        end = last or database_clock(connection)
        begin = first or end - _USUAL
        if begin >= end:
            raise BadInputError(f"the period from {begin.isoformat()} to {end.isoformat()} is empty")
        found = account_for(connection, TickPeriod(begin - _INSTANT, end - _INSTANT), name)
    rows = [_describe(each) for each in found]
    if as_json:
        print_json({"since": begin, "until": end, "schedules": rows})
    else:
        print_table(rows, {column: column for column in _COLUMNS}, "no schedule had ticks")
        _print_differences(rows)
    return int(any(each.account.unaccounted for each in found))


def _describe(found: ScheduleAccount) -> dict[str, Any]:
    account = found.account
    return {
        "schedule": found.schedule,
        "ticks": account.ticks,
        "rows": account.rows,
        "moved": account.moved,
        "undecided": account.undecided,
        **{str(kind): count for kind, count in account.counts.items()},
        "notes": found.notes,
        "differences": [
            {
                "kind": each.kind,
                "tick": each.moment,
                "session": each.session,
                "state": each.state,
                "ticks": each.tick_count,
            }
            for each in account.differences
        ],
    }


def _print_differences(rows: list[dict[str, Any]]) -> None:
    differences = [{"schedule": row["schedule"], **each} for row in rows for each in row["differences"]]
    if differences:
        click.echo()
        columns = {name: name for name in ("kind", "schedule", "tick", "session", "state", "ticks")}
        print_table(differences[:_MOST_SHOWN], columns, "")
    if len(differences) > _MOST_SHOWN:
        warn(f"these are the first {_MOST_SHOWN} differences: --json has up to a thousand of each schedule")
    for row in rows:
        for note in row["notes"]:
            warn(f"{row['schedule']}: {note}")
