"""`streamworkers embedded`: a private Redis and PostgreSQL."""

import shlex
from pathlib import Path

import click

from streamworkers.cli.session import json_option, print_json, print_table
from streamworkers.config import load_settings
from streamworkers.embedded import EmbeddedServices, ServiceStatus
from streamworkers.errors import ServiceUnreachableError

_data_option = click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the data.  [default: .streamworkers]"
)
_VARIABLES = {"redis": "STREAMWORKERS_REDIS_URL", "postgres": "STREAMWORKERS_DATABASE_URL"}


def _services(data: Path | None) -> EmbeddedServices:
    settings = load_settings()
    return EmbeddedServices(settings.model_copy(update={"data_dir": data}) if data else settings)


@click.group(short_help="Run a private Redis and PostgreSQL in a folder.")
def embedded() -> None:
    """Run a private Redis and PostgreSQL in a folder, without installing anything.

    Other commands find them in .streamworkers or in STREAMWORKERS_DATA_DIR.
    """


@embedded.command()
@_data_option
@json_option
def start(data: Path | None, as_json: bool) -> None:
    """Start both services, unless they run already."""
    services = _services(data)
    services.start()
    _show(services.status(), as_json)


@embedded.command()
@_data_option
def stop(data: Path | None) -> None:
    """Stop both services and keep their data."""
    services = _services(data)
    services.stop()
    click.echo(f"stopped; the data stays in {services.folder}")


@embedded.command()
@_data_option
@json_option
def status(data: Path | None, as_json: bool) -> int:
    """Show the state of both services. Exit code 3 when one of them is down."""
    found = _services(data).status()
    _show(found, as_json)
    return 0 if all(service.answers for service in found) else 3


@embedded.command()
@_data_option
def env(data: Path | None) -> None:
    """Print shell lines that set the URLs of both services."""
    for service in _services(data).status():
        if not service.answers:
            raise ServiceUnreachableError(f"{service.name} is not running: `streamworkers embedded start`")
        click.echo(f"export {_VARIABLES[service.name]}={shlex.quote(service.url)}")


def _show(found: list[ServiceStatus], as_json: bool) -> None:
    rows = [
        {
            "service": service.name,
            "state": "running" if service.answers else "starting" if service.pid else "stopped",
            "pid": service.pid,
            "url": service.url,
        }
        for service in found
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, {"service": "service", "state": "state", "pid": "pid", "url": "url"}, "no services")
