"""`streamworkers running`: what runs right now."""

from collections import Counter
from dataclasses import asdict

import click

from streamworkers.admin.running import RunningItem, RunningPicture, read_running
from streamworkers.admin.runs import require_run
from streamworkers.cli.known_names import has_symbols, require_known_job, require_known_symbols
from streamworkers.cli.session import Session, json_option, limit_option, print_json, print_table, show_whole_seconds


@click.command(short_help="Show what runs right now, by item, and since when.")
@click.option("--job", help="Only items of this job.")
@click.option("--run", "run_id", type=click.IntRange(1, 2**63 - 1), help="Only items of this run.")
@click.option("--symbol", help="Only items of this symbol, part or id.")
@limit_option
@json_option
def running(job: str | None, run_id: int | None, symbol: str | None, limit: int, as_json: bool) -> None:
    """Show the items that workers execute now, since when, and how long the call with them may take.

    Items that a worker has only taken come last: it comes to them after its call. An orphaned one was with a worker
    whose supervisor is gone; it runs again when its lease expires.
    """
    session = Session.open()
    with session.streams() as streams:
        picture = read_running(streams)
    found = [
        item
        for item in picture.items
        if job in (None, item.job) and run_id in (None, item.run_id) and symbol in (None, item.symbol)
    ]
    if not found:
        _require_known(session, job, run_id, symbol)
    if as_json:
        print_json({**_count(found, picture), "items": [asdict(item) for item in found[:limit]]})
    else:
        _print(found, picture, limit)


def _require_known(session: Session, job: str | None, run_id: int | None, symbol: str | None) -> None:
    """Raise UnknownNameError or BadInputError for a name that nothing has."""
    if (job, run_id, symbol) == (None, None, None):
        return
    with session.database() as connection:
        if job is not None:
            require_known_job(connection, job)
        if run_id is not None:
            require_run(connection, run_id)
        if symbol is not None and has_symbols(connection, job):
            require_known_symbols(connection, [symbol])


def _count(found: list[RunningItem], picture: RunningPicture) -> dict[str, float | int | None]:
    places = Counter(item.place for item in found)
    counts = {place: places[place] for place in ("executes", "taken", "orphaned")}
    return {**counts, "unread": picture.unread, "report_seconds": picture.report_seconds}


def _print(found: list[RunningItem], picture: RunningPicture, limit: int) -> None:
    rows = [{**asdict(item), "item": f"{item.run_id}:{item.seq}"} for item in found[:limit]]
    for row in rows:
        for name in ("seconds", "limit_seconds"):
            row[name] = show_whole_seconds(row[name])
    names = ("item", "job", "symbol", "timeframe", "attempt", "place", "since", "seconds")
    columns = {name: name for name in names} | {"limit_seconds": "limit s", "worker": "worker"}
    print_table(rows, columns, "nothing runs")
    counts = _count(found, picture)
    if found:
        click.echo(f"{counts['executes']} executed, {counts['taken']} taken, {counts['orphaned']} orphaned", nl=False)
        click.echo(f"; the {limit} first are shown" if len(found) > limit else "")
    if picture.unread:
        click.echo(f"{picture.unread} more pending entries were not read")
    if picture.report_seconds is not None:
        click.echo(f"as supervisors reported up to {picture.report_seconds:.0f} s ago")
