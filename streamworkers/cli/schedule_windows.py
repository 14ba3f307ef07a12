"""`streamworkers schedules windows`: times in which no tick starts a run."""

from datetime import UTC, datetime

import click

from streamworkers.cli.schedule_rows import format_local_time
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.schedules.maintenance_store import NewWindow, add_window, list_windows, remove_window
from streamworkers.schedules.timing import zone_named
from streamworkers.schedules.written_times import parse_time_in_zone


@click.group(short_help="Times in which no tick starts a run.")
def windows() -> None:
    """Maintenance windows: while one is open, no tick starts a run."""


@windows.command(short_help="Add a maintenance window.")
@click.option("--from", "start", help="Its beginning, such as 2026-12-05T22:00, in --timezone.  [default: now]")
@click.option("--until", "end", required=True, help="Its end, such as 2026-12-06T02:00, in --timezone.")
@click.option("--timezone", default="America/New_York", show_default=True, help="Time zone of both.")
@click.option("--schedule", "names", multiple=True, help="Only this schedule; repeatable.  [default: all]")
@click.option(
    "--ticks",
    "mode",
    type=click.Choice(["skip", "wait"]),
    default="skip",
    show_default=True,
    help="Whether ticks in it are skipped, or wait for its end.",
)
@click.option("--note", default="", help="Why, for those who find its ticks in the history.")
@json_option
def add(
    start: str | None, end: str, timezone: str, names: tuple[str, ...], mode: str, note: str, as_json: bool
) -> None:
    """Add a maintenance window for all schedules, or for those that are named.

    Runs that are open go on; runs that messages, programs and people start are not held up.
    """
    zone = zone_named(timezone)
    starts_at = datetime.now(UTC) if start is None else parse_time_in_zone(start, zone)
    new = NewWindow(
        starts_at, parse_time_in_zone(end, zone), timezone, names, "wait" if mode == "wait" else "skip", note
    )
    with Session.open().database() as connection:
        number = add_window(connection, new)
        row = next(row for row in list_windows(connection, past=False) if row["id"] == number)
    if as_json:
        print_json(row)
        return
    first, last = (format_local_time(row[name], timezone) for name in ("starts_at", "ends_at"))
    click.echo(f"maintenance window {number} added: from {first} until {last}")


@windows.command("list", short_help="List maintenance windows.")
@click.option("--all", "past", is_flag=True, help="Also those that are over.")
@json_option
def list_command(past: bool, as_json: bool) -> None:
    """List the windows that are open or to come."""
    with Session.open().database() as connection:
        rows = list_windows(connection, past=past)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["from"], row["until"] = (format_local_time(row[name], row["timezone"]) for name in ("starts_at", "ends_at"))
        row["of"] = "all" if row["schedules"] is None else ", ".join(row["schedules"])
    columns = {"id": "window", "from": "from", "until": "until", "of": "schedules", "mode": "ticks", "state": "state"}
    print_table(rows, {**columns, "created_by": "by", "note": "note"}, "no maintenance window is open or to come")


@windows.command(short_help="Remove a maintenance window, or end it.")
@click.argument("window", type=click.IntRange(1, 2**63 - 1))
@json_option
def remove(window: int, as_json: bool) -> None:
    """Remove a WINDOW that is to come, or end one that is open now."""
    with Session.open().database() as connection:
        done = remove_window(connection, window)
    if as_json:
        print_json({"id": window, "outcome": done})
    else:
        click.echo(f"maintenance window {window} {done}")
