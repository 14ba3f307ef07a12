"""`streamworkers version`."""

import platform

import click

from streamworkers import __version__


@click.command()
def version() -> None:
    """Print the versions of streamworkers and Python."""
    click.echo(f"streamworkers {__version__} (Python {platform.python_version()})")
