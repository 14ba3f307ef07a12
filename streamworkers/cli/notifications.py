"""`streamworkers notifications`: what users are notified of, and what each delivery has come to."""

from typing import Any
from uuid import UUID

import click

from streamworkers.cli.session import Session, json_option, limit_option, print_json, print_table
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.notifications.given_preferences import require_known_type
from streamworkers.notifications.store.closing import reopen_deliveries
from streamworkers.notifications.store.listing import list_notifications, show_notification
from streamworkers.notifications.store.notifications import list_rejected_events
from streamworkers.users import require_user


@click.group(short_help="Notifications: list, show and retry them.")
def notifications() -> None:
    """Notifications: what users are notified of, once for each key, and the deliveries of each."""


@notifications.command("list", short_help="List notifications, newest first.")
@click.option("--user", help="Only those of this user.")
@click.option("--type", "type_name", help="Only those of this type.")
@limit_option
@json_option
def list_newest(user: str | None, type_name: str | None, limit: int, as_json: bool) -> None:
    """List notifications with the states of their deliveries, newest first."""
    with Session.open().database() as connection:
        rows = list_notifications(connection, user=user, type_name=type_name, limit=limit)
        if not rows:
            _require_known(connection, user, type_name)
    if as_json:
        print_json(rows)
        return
    columns = {"id": "id", "created_at": "at", "user": "user", "type": "type", "priority": "priority"}
    print_table(rows, columns | {"deliveries": "deliveries", "text": "text"}, "no notifications", longest=80)


@notifications.command(short_help="Show a notification with its deliveries.")
@click.argument("notification_id", metavar="NOTIFICATION", type=click.UUID)
@json_option
def show(notification_id: UUID, as_json: bool) -> None:
    """Show a notification with what it says, and each delivery of it: where, when, how often, and why not."""
    with Session.open().database() as connection:
        row = _find(connection, notification_id)
    if as_json:
        print_json(row)
        return
    for name in ("user", "type", "priority", "dedup_key", "group_key", "created_at", "expires_at"):
        if row[name] is not None:
            click.echo(f"{name}: {row[name]}")
    click.echo(f"text: {row['data'].get('text') or row['data']}")
    columns = {"channel": "channel", "endpoint": "endpoint", "state": "state", "not_before": "not before"}
    columns |= {"attempts": "attempts", "notifications": "together with", "sent_at": "sent", "reason": "reason"}
    print_table(row["deliveries"], columns, "no deliveries yet")


@notifications.command(short_help="Send dead and held deliveries again.")
@click.argument("notification_id", metavar="NOTIFICATION", type=click.UUID)
@json_option
def retry(notification_id: UUID, as_json: bool) -> None:
    """Send again what of a notification is dead, or is ambiguous and held for a person to decide."""
    with Session.open().database() as connection:
        row = _find(connection, notification_id)
        opened = reopen_deliveries(connection, notification_id, [each["id"] for each in row["deliveries"]])
    if as_json:
        print_json([{"delivery": each, "outcome": "queued"} for each in opened])
    else:
        click.echo(f"queued again: {len(opened)} of {len(row['deliveries'])} deliveries")


@notifications.command("rejected", short_help="List events that no notification was made of.")
@limit_option
@json_option
def show_rejected(limit: int, as_json: bool) -> None:
    """List the newest events on the channel of notifications that cannot be read, or are for an unknown user."""
    with Session.open().database() as connection:
        rows = list_rejected_events(connection, limit)
    if as_json:
        print_json(rows)
    else:
        columns = {"created_at": "at", "event_id": "event", "reason": "reason", "payload": "payload"}
        print_table(rows, columns, "no rejected events", longest=80)


def _require_known(connection: Connection, user: str | None, type_name: str | None) -> None:
    """Raise UnknownNameError for a user who is not there, and for a type that no notification has had."""
    if user is not None:
        require_user(connection, user)
    if type_name is not None:
        require_known_type(connection, type_name)


def _find(connection: Connection, notification_id: UUID) -> dict[str, Any]:
    """A notification with its deliveries. Raises BadInputError."""
    row = show_notification(connection, notification_id)
    if row is None:
        raise BadInputError(f"no notification has the id {notification_id}: see `streamworkers notifications list`")
    return row
