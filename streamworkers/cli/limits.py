"""`streamworkers limits`: the limits of jobs, and who runs and waits."""

from dataclasses import asdict

import click

from streamworkers.admin.job_limits import read_limit_states
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.engine.registry import installed_jobs

_COLUMNS = {
    "name": "limit",
    "kind": "kind",
    "limit": "at most",
    "keys": "keys",
    "in_use": "in use",
    "waiting": "waiting",
    "jobs": "jobs",
}


@click.group(short_help="Limits of jobs: list them with who runs and waits.")
def limits() -> None:
    """Limits that jobs declare: how many of their items run at once, and how many begin in a time."""


@limits.command("list", short_help="List the limits of the installed jobs.")
@json_option
def list_limits(as_json: bool) -> None:
    """List the limits of the jobs that are installed here: what is in use in the whole fleet, and how many items wait.

    Of a limit by key both are sums over all values, and `keys` is the number of those in use. What is in use of a rate
    are the calls of its last seconds.
    """
    with Session.open().streams() as streams:
        rows = [asdict(state) for state in read_limit_states(streams, installed_jobs())]
    if as_json:
        print_json(rows)
        return
    print_table([{**row, "jobs": " ".join(row["jobs"])} for row in rows], _COLUMNS, "no installed job has a limit")
