"""`streamworkers notify`: notify a user from a shell or a script."""

import uuid
from typing import Any

import click

from streamworkers.cli.session import Session, json_option, print_json
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.given_preferences import require_known_channels
from streamworkers.notifications.notification_types import PRIORITIES
from streamworkers.notifications.notify import notify as write_notification
from streamworkers.users import require_user


@click.command(short_help="Notify a user.")
@click.argument("user")
@click.argument("text")
@click.option("--title", help="A title above the text.")
@click.option("--link", help="A link below it.")
@click.option("--type", "type_name", default="message", show_default=True, help="The type, which preferences name.")
@click.option("--priority", type=click.Choice(PRIORITIES), default="normal", show_default=True, help="How soon.")
@click.option("--group", help="Notifications of one group that come together are one message.")
@click.option("--channel", "channels", multiple=True, help="Only on this channel; may be repeated.")
@click.option("--key", help="Notify once for this key, however often this is called.  [default: each time]")
@json_option
def notify(user: str, text: str, as_json: bool, **options: Any) -> None:
    """Notify a USER of a TEXT, as their preferences say."""
    key = options["key"] or f"command:{uuid.uuid4()}"
    data = {name: options[name] for name in ("title", "link") if options[name] is not None}
    if options["channels"]:
        data["channels"] = list(options["channels"])
    session = Session.open()
    with session.database() as connection, connection.transaction():
        require_user(connection, user)
        if options["channels"]:
            require_known_channels(load_channels(session.settings), options["channels"])
        write_notification(
            connection,
            user,
            text,
            dedup_key=key,
            type=options["type_name"],
            priority=options["priority"],
            group_key=options["group"],
            data=data,
        )
    if as_json:
        print_json({"user": user, "dedup_key": key, "outcome": "accepted"})
    else:
        click.echo(f"accepted: {key}")
