"""`streamworkers version` and `streamworkers --version`: which release this is."""

import platform

import click

from streamworkers import __version__

VERSIONS = f"streamworkers {__version__} (Python {platform.python_version()})"


@click.command()
def version() -> None:
    """Print the versions of streamworkers and Python."""
    click.echo(VERSIONS)
