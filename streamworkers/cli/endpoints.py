"""`streamworkers endpoints`: where users can be reached with notifications."""

import click

from streamworkers.actor import Actor
from streamworkers.cli.missing_settings import warn_of_missing_channel_setting
from streamworkers.cli.session import Session, json_option, parse_parameters, print_json, print_table
from streamworkers.errors import UnknownNameError
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.described_endpoints import describe_endpoint, send_test
from streamworkers.notifications.store.codes import issue_code, verify_endpoint
from streamworkers.notifications.store.endpoints import (
    add_endpoint,
    list_endpoints,
    remove_endpoint,
    switch_endpoint_off,
    switch_endpoint_on,
)
from streamworkers.users import RUN_WEBHOOKS, require_user

_user = click.option("--user", default="local", show_default=True, help="The user whose endpoint it is.")
_name = click.argument("name")


@click.group(short_help="Where users get notifications: add, list, test, on, off.")
def endpoints() -> None:
    """Endpoints: where users can be reached with notifications, each an address on a channel."""


@endpoints.command(short_help="Add an endpoint.")
@click.argument("channel")
@click.argument("address")
@click.option("--name", help="Its name.  [default: that of its channel]")
@click.option("--setting", "words", multiple=True, metavar="NAME=VALUE", help="A setting of the channel.")
@_user
@json_option
def add(channel: str, address: str, name: str | None, words: tuple[str, ...], user: str, as_json: bool) -> None:
    """Add the ADDRESS on the CHANNEL (telegram, mail, webhook, slack, discord). It is verified, because you add it.

    Secrets are not stored: name a variable of the environment of the workers, such as --setting secret=env:HOOK_SECRET.
    """
    session = Session.open()
    channels = load_channels(session.settings)
    if channel not in channels:
        raise UnknownNameError("channel", channel, channels)
    checked = channels[channel].check_address(address, parse_parameters(words))
    with session.database() as connection:
        added = add_endpoint(connection, Actor(user), channel, checked, name)
    warn_of_missing_channel_setting(channels[channel], checked)
    _print_outcome(added.name, "added", as_json)


@endpoints.command("list", short_help="List the endpoints of a user.")
@_user
@json_option
def list_of_user(user: str, as_json: bool) -> None:
    """List the endpoints of a user; addresses without their secrets."""
    session = Session.open()
    with session.database() as connection:
        if user != RUN_WEBHOOKS:  # it is no user to anybody else, but it has endpoints
            require_user(connection, user)
        found = list_endpoints(connection, user)
    channels = load_channels(session.settings)
    rows = [describe_endpoint(each, channels) for each in found]
    if as_json:
        print_json(rows)
        return
    columns = {"name": "name", "channel": "channel", "address": "address", "state": "state", "created_by": "added by"}
    print_table(rows, columns, f"user {user} has no endpoint: see `streamworkers endpoints add --help`")


@endpoints.command(short_help="Remove an endpoint.")
@_name
@_user
@json_option
def remove(name: str, user: str, as_json: bool) -> None:
    """Remove the endpoint NAME; what waits for it is suppressed."""
    with Session.open().database() as connection:
        remove_endpoint(connection, Actor(user), name)
    _print_outcome(name, "removed", as_json)


@endpoints.command(short_help="Send to an endpoint again.")
@_name
@_user
@json_option
def on(name: str, user: str, as_json: bool) -> None:
    """Send to the endpoint NAME again, from now on."""
    with Session.open().database() as connection:
        switch_endpoint_on(connection, Actor(user), name)
    _print_outcome(name, "on", as_json)


@endpoints.command(short_help="Send nothing to an endpoint.")
@_name
@click.option("--reason", help="Why, for those who wonder.")
@_user
@json_option
def off(name: str, reason: str | None, user: str, as_json: bool) -> None:
    """Send nothing to the endpoint NAME any more; what waits for it is suppressed."""
    with Session.open().database() as connection:
        switch_endpoint_off(connection, Actor(user), name, reason)
    _print_outcome(name, "off", as_json)


@endpoints.command(short_help="Verify an endpoint by a code that is sent there.")
@_name
@click.argument("code", required=False)
@_user
@json_option
def verify(name: str, code: str | None, user: str, as_json: bool) -> None:
    """Send a code to the endpoint NAME; with the CODE that came, verify it."""
    with Session.open().database() as connection:
        if code is None:
            issue_code(connection, Actor(user), name)
        else:
            verify_endpoint(connection, Actor(user), name, code)
    _print_outcome(name, "code sent" if code is None else "verified", as_json)


@endpoints.command(short_help="Send a test to an endpoint.")
@_name
@_user
@json_option
def test(name: str, user: str, as_json: bool) -> None:
    """Send a test to the endpoint NAME, past preferences and quiet hours."""
    with Session.open().database() as connection:
        send_test(connection, Actor(user), name)
    _print_outcome(name, "test queued", as_json)


def _print_outcome(name: str, outcome: str, as_json: bool) -> None:
    if as_json:
        print_json({"name": name, "outcome": outcome})
    else:
        click.echo(f"{outcome}: {name}")
