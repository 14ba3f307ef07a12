"""`streamworkers status`."""

import click

from streamworkers.cli.dashboard_view import EVERYTHING, gather, open_snapshots, render
from streamworkers.cli.session import Session, console, json_option, print_json, print_whole


@click.command(short_help="Show the state of the system on one screen.")
@json_option
def status(as_json: bool) -> int:
    """Show components, queues, runs, workers, recent failures and next ticks.

    The components show what the cheap checks of `streamworkers doctor` find.
    Exit code 1 when a component is degraded or critical.
    """
    session = Session.open()
    with open_snapshots(session) as look:
        overview = gather(look())
    if as_json:
        print_json(overview.as_json())
    else:
        print_whole(render(overview, None, EVERYTHING, is_whole=not console.is_terminal))
    return 0 if overview.status == "ok" else 1
