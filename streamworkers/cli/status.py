"""`streamworkers status`."""

import click

from streamworkers.cli.dashboard_view import gather, render
from streamworkers.cli.session import Session, console, json_option, print_json

_EVERYTHING = 10_000


@click.command(short_help="How everything is, on one screen.")
@json_option
def status(as_json: bool) -> int:
    """How everything is: components, queues, runs, workers, failures, next ticks.

    Exit code 1 when a component is degraded or critical.
    """
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        overview = gather(connection, streams)
    if as_json:
        print_json(overview.as_json())
    else:
        console.print(render(overview, None, _EVERYTHING))
    return 0 if overview.status == "ok" else 1
