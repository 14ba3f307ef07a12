"""`streamworkers embedded`: a private Redis and PostgreSQL."""

import shlex
from pathlib import Path

import click

from streamworkers.cli.session import json_option, print_json, print_table
from streamworkers.config import load_settings
from streamworkers.embedded import EmbeddedServices, ServiceStatus
from streamworkers.errors import ServiceUnreachableError

_data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the data.  [default: STREAMWORKERS_DATA_DIR, or .streamworkers]",
)
_VARIABLES = {"redis": "STREAMWORKERS_REDIS_URL", "postgres": "STREAMWORKERS_DATABASE_URL"}


def _services(data: Path | None) -> EmbeddedServices:
    settings = load_settings()
    return EmbeddedServices(settings.model_copy(update={"data_dir": data}) if data else settings)


@click.group(short_help="Start and stop a private Redis and PostgreSQL.")
def embedded() -> None:
    """A private Redis and PostgreSQL in a folder, with nothing else to install.

    Other commands connect to them where STREAMWORKERS_REDIS_URL or STREAMWORKERS_DATABASE_URL is not set. The folder is
    STREAMWORKERS_DATA_DIR, or .streamworkers.
    """


@embedded.command()
@_data_option
@json_option
def start(data: Path | None, as_json: bool) -> None:
    """Start both services. A service that is already running is left running."""
    services = _services(data)
    services.start()
    _show(services.status(), as_json)


@embedded.command()
@_data_option
def stop(data: Path | None) -> None:
    """Stop both services. Their data is kept."""
    services = _services(data)
    services.stop()
    click.echo(f"stopped; the data is kept in {services.folder}")


@embedded.command()
@_data_option
@json_option
def status(data: Path | None, as_json: bool) -> int:
    """Show the state of both services; exit code 3 if one is down."""
    found = _services(data).status()
    _show(found, as_json)
    return 0 if all(service.answers for service in found) else 3


@embedded.command()
@_data_option
def env(data: Path | None) -> None:
    """Print the URLs of both services as `export` lines for a shell.

    Other programs, and commands run in other folders, then use the same services:

    \b
        eval "$(streamworkers embedded env)"
    """
    found = _services(data).status()
    for service in found:
        if not service.answers:
            raise ServiceUnreachableError(
                f"the embedded {service.name} is not running: run `streamworkers embedded start`"
            )
    for service in found:
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
