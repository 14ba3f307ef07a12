"""`streamworkers jobs list` and `jobs show`: what a job does, and what it takes."""

import json
from dataclasses import asdict
from typing import Any

import click

from streamworkers.admin.job_descriptions import JobDescription, describe_jobs
from streamworkers.admin.job_parameters import JobParameter
from streamworkers.cli.session import Session, console, json_option, print_json, print_table
from streamworkers.engine.ledger.job_types import RecordedJob, read_recorded_jobs
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import ServiceUnreachableError, UnknownNameError

_COLUMNS = {
    "name": "job",
    "queue": "queue",
    "items": "items",
    "origin": "from",
    "description": "what it does",
}


@click.command("list", short_help="List the jobs that are known.")
@json_option
def list_jobs(as_json: bool) -> None:
    """List the jobs that are installed here, and those that a process of the pool has had in the last 7 days."""
    found = _find_jobs()
    if as_json:
        print_json([_as_json(each) for each in found])
        return
    rows = [{**asdict(each), "origin": each.package if each.installed else "not here"} for each in found]
    print_table(rows, _COLUMNS, "no job is installed")


@click.command("show", short_help="Show what a job does, and its parameters.")
@click.argument("job")
@json_option
def show_job(job: str, as_json: bool) -> None:
    """Show what JOB does, its queue and limits, and its parameters with types, defaults and rules."""
    found = {each.name: each for each in _find_jobs()}
    if job not in found:
        raise UnknownNameError("job", job, found)
    if as_json:
        print_json(_as_json(found[job]))
        return
    _print_job(found[job])


def _find_jobs() -> list[JobDescription]:
    return list(describe_jobs(installed_jobs(), _read_recorded()))


def _read_recorded() -> list[RecordedJob]:
    """What the pool has recorded; a warning, and nothing, if PostgreSQL cannot be asked."""
    try:
        with Session.open().database() as connection:
            return read_recorded_jobs(connection)
    except ServiceUnreachableError as error:
        click.echo(f"Warning: jobs that are not installed here are left out: {error}", err=True)
        return []


def _as_json(job: JobDescription) -> dict[str, Any]:
    return {**asdict(job), "parameters": [each._asdict() for each in job.parameters]}


def _show_origin(job: JobDescription) -> str:
    if job.installed:
        return f"{job.package} {job.version}" if job.package else str(job.path)
    return f"not installed here; streamworkers {job.releases[0]['release']}"


def _print_job(job: JobDescription) -> None:
    lines = {
        "job": job.name,
        "does": job.description,
        "from": _show_origin(job),
        "class": job.path,
        "queue": f"{job.queue}, or before it {job.first_queue}" if job.first_queue else job.queue,
        "items": {"part": f"parts: {', '.join(job.parts) or 'those of the job'}", "id": "ids", "symbol": "symbols"}[
            job.items
        ],
        "batch": job.batch and f"at most {job.batch} items",
        "time limit": job.time_limit_seconds and f"{job.time_limit_seconds:g} s for a batch",
        "attempts": job.max_attempts,
        "bars": "it needs stored bars of its symbols" if job.needs_bars else None,
        "failures": "nobody is notified of a failed run" if not job.notifies_failure else None,
        "settings": ", ".join(job.required_settings or ()),
        "counters": ", ".join(each["name"] for each in job.counters),
    }
    width = max(map(len, lines)) + 2
    for name, value in lines.items():
        if value:
            console.print(f"{name:<{width}}{value}", markup=False, highlight=False, soft_wrap=True)
    for release in job.releases:
        differs = "" if release["same_parameters"] else ", with other parameters"
        seen = release["seen_at"].astimezone().strftime("%Y-%m-%d %H:%M")
        click.echo(f"{'in the pool':<{width}}streamworkers {release['release']}{differs}, seen {seen}")
    click.echo()
    if job.about_parameters:
        click.echo(f"{job.about_parameters}\n")
    columns = {"name": "parameter", "type": "type", "default": "default", "rule": "rule"}
    if any(each.description for each in job.parameters):
        columns["description"] = "meaning"
    print_table([_make_row(each) for each in job.parameters], columns, "it has no parameters")


def _make_row(parameter: JobParameter) -> dict[str, object]:
    default = parameter.default
    shown = default if isinstance(default, str) and default else json.dumps(default)
    return {**parameter._asdict(), "default": "required" if parameter.is_required else shown}
