"""`streamworkers users`: who owns alerts and endpoints, and gets notifications."""

from collections.abc import Callable

import click

from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.database import Connection
from streamworkers.notifications.store.accounts import disable_user, enable_user, list_users, register_user

_user = click.argument("user")


@click.group(short_help="Who gets notifications: add, list, disable, enable.")
def users() -> None:
    """Users own alerts, endpoints and preferences, and get notifications. `local` is there from the beginning."""


@users.command(short_help="Add a user.")
@_user
@json_option
def add(user: str, as_json: bool) -> None:
    """Add a USER. Adding one who is there changes nothing."""
    _change(register_user, user, ("added", "there already"), as_json=as_json)


@users.command("list", short_help="List the users.")
@json_option
def list_all(as_json: bool) -> None:
    """List the users, each with the numbers of endpoints that are on and of alerts."""
    with Session.open().database() as connection:
        rows = list_users(connection)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        since = row["disabled_at"]
        row["state"] = "on" if since is None else f"disabled since {since:%Y-%m-%d}"
    columns = {"user": "user", "endpoints": "endpoints", "alerts": "alerts", "state": "state"}
    print_table(rows, columns, "no users: see `streamworkers users add --help`")


@users.command(short_help="Send nothing to a user any more.")
@_user
@json_option
def disable(user: str, as_json: bool) -> None:
    """Send nothing to a USER any more, by any channel, and do nothing that they ask the bot for.

    What waits is suppressed. Endpoints, preferences and alerts stay; alerts are still decided.
    """
    _change(disable_user, user, ("disabled", "disabled already"), as_json=as_json)


@users.command(short_help="Send to a user again.")
@_user
@json_option
def enable(user: str, as_json: bool) -> None:
    """Send to a USER again, from now on."""
    _change(enable_user, user, ("enabled", "enabled already"), as_json=as_json)


def _change(change: Callable[[Connection, str], bool], user: str, outcomes: tuple[str, str], *, as_json: bool) -> None:
    with Session.open().database() as connection:
        outcome = outcomes[0] if change(connection, user) else outcomes[1]
    if as_json:
        print_json({"user": user, "outcome": outcome})
    else:
        click.echo(f"{outcome}: {user}")
