"""`streamworkers adopt`."""

import click

from streamworkers.admin import installation
from streamworkers.cli.session import Session, require_schema


@click.command(short_help="Let this database and these Redis keys belong together.")
def adopt() -> None:
    """Let this database and the Redis keys under STREAMWORKERS_KEY_PREFIX belong together.

    The first worker or scheduler does so by itself. Use it when a database is moved to another prefix,
    or takes the place of another database.
    """
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        require_schema(connection)
        own_id, prefix = installation.adopt(connection, streams)
    click.echo(f"installation {own_id} has the keys that begin with {prefix!r}")
