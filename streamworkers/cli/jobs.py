"""`streamworkers jobs`: what programs need to know of the jobs of the pool."""

from pathlib import Path

import click

from streamworkers.cli.files import write_file
from streamworkers.cli.jobs_read import list_jobs, show_job
from streamworkers.cli.session import Session
from streamworkers.client.caller_connection import run_on
from streamworkers.client.sql_door import SqlDoor
from streamworkers.client.steps import Query, Step, take_steps
from streamworkers.client.stubs import write_stubs
from streamworkers.errors import BadInputError


@click.group(short_help="Jobs: list, show, write their types for programs.")
def jobs() -> None:
    """Jobs that are installed here, and as the processes of the pool have recorded them."""


jobs.add_command(list_jobs)
jobs.add_command(show_job)


@jobs.command(short_help="Write a Python module with the types of parameters.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
def stubs(file: Path | None) -> None:
    """Write a Python module with the types of all jobs' parameters to FILE, or print it.

    A program that enqueues with it is checked by mypy or pyright. The jobs are those that a worker or scheduler of the
    pool has had in the last 7 days.
    """
    with Session.open().database() as connection:

        def answer(step: Step) -> object:
            assert isinstance(step, Query)
            return run_on(connection, step)

        known = take_steps(SqlDoor().read_jobs(), answer)
    if not known:
        raise BadInputError("no job is known: no worker or scheduler has run in the last 7 days")
    text = write_stubs(known)
    if file is None:
        click.echo(text, nl=False)
        return
    write_file(file, text)
    click.echo(f"{len({job.name for job in known})} jobs written to {file}", err=True)
