"""`streamworkers preferences`: how users want notifications, and when they want none."""

import re
from dataclasses import asdict
from typing import Any

import click

from streamworkers.actor import Actor
from streamworkers.cli.session import Session, json_option, print_json, print_table
from streamworkers.errors import BadInputError
from streamworkers.notifications.channels.registry import load_channels
from streamworkers.notifications.given_preferences import parse_local_time, require_known_names
from streamworkers.notifications.notification_types import ANY
from streamworkers.notifications.preferences import MODES, Preference, QuietHours
from streamworkers.notifications.store.preferences import (
    read_preferences,
    read_quiet_hours,
    remove_preference,
    set_preference,
    set_quiet_hours,
)
from streamworkers.users import require_user

_DEFAULT = "default"
_SPAN = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d)")
_user = click.option("--user", default="local", show_default=True, help="The user whose preferences these are.")


@click.group(short_help="How users want notifications: at once, in a digest, off.")
def preferences() -> None:
    """Preferences: how a user wants notifications of a type on a channel, and quiet hours."""


@preferences.command(short_help="Show the preferences of a user.")
@_user
@json_option
def show(user: str, as_json: bool) -> None:
    """Show the preferences and the quiet hours of a user."""
    with Session.open().database() as connection:
        require_user(connection, user)
        wished = read_preferences(connection, [user]).get(user, [])
        quiet = read_quiet_hours(connection, [user]).get(user)
    rows = [_row(each) for each in wished]
    if as_json:
        print_json({"preferences": rows, "quiet_hours": None if quiet is None else _quiet_row(quiet)})
        return
    columns = {"type": "type", "channel": "channel", "mode": "mode", "digest": "digest"}
    print_table([row | {"digest": _when(row)} for row in rows], columns, "no preferences: everything comes at once")
    click.echo(f"quiet hours: {_quiet_text(quiet)}")


@preferences.command("set", short_help="Set how notifications come.")
@click.argument("mode", type=click.Choice([*MODES, _DEFAULT]))
@click.option("--type", "type_name", default=ANY, show_default=True, help="Only notifications of this type.")
@click.option("--channel", default=ANY, show_default=True, help="Only on this channel.")
@click.option("--every", type=click.IntRange(1, 10_080), help="Minutes between digests.")
@click.option("--at", "at", help="Local time of a daily digest, such as 18:00.")
@click.option("--zone", help="The time zone of --at, such as America/New_York.")
@_user
@json_option
def set_mode(mode: str, type_name: str, channel: str, user: str, as_json: bool, **digest: Any) -> None:
    """Let notifications come at once (instant), together in a digest, or not at all (off).

    What is set for a type and a channel counts before what is set for the type, for the channel, and for all. MODE
    default removes what is set.
    """
    session = Session.open()
    with session.database() as connection:
        require_known_names(connection, load_channels(session.settings), type_name, channel)
        if mode == _DEFAULT:
            if any(value is not None for value in digest.values()):
                raise BadInputError("default removes a preference, and has no time of a digest")
            remove_preference(connection, Actor(user), type_name, channel)
        else:
            at = None if digest["at"] is None else parse_local_time(digest["at"])
            wish = Preference(type_name, channel, mode, digest["every"], at, digest["zone"])  # type: ignore[arg-type]
            set_preference(connection, Actor(user), wish)
    if as_json:
        print_json({"type": type_name, "channel": channel, "mode": mode})
    else:
        click.echo(f"{mode}: type {type_name} on channel {channel}")


@preferences.command(short_help="Set or end quiet hours.")
@click.argument("hours")
@click.option("--zone", help="The time zone of these local times, such as America/New_York.")
@_user
@json_option
def quiet(hours: str, zone: str | None, user: str, as_json: bool) -> None:
    """Between the local HOURS, such as 22:00-07:00, only what is urgent comes; `off` ends them.

    What they hold comes at their end, as one digest at each endpoint.
    """
    found = None if hours == "off" else _parse_hours(hours, zone)
    with Session.open().database() as connection:
        set_quiet_hours(connection, Actor(user), found)
    if as_json:
        print_json(None if found is None else _quiet_row(found))
    else:
        click.echo(f"quiet hours: {_quiet_text(found)}")


def _parse_hours(text: str, zone: str | None) -> QuietHours:
    span = _SPAN.fullmatch(text)
    if span is None:
        raise BadInputError(f"{text!r} is neither two local times, such as 22:00-07:00, nor off")
    return QuietHours(parse_local_time(span[1]), parse_local_time(span[2]), zone or "")


def _row(preference: Preference) -> dict[str, Any]:
    at = preference.digest_at
    return asdict(preference) | {"digest_at": None if at is None else f"{at:%H:%M}"}


def _when(row: dict[str, Any]) -> str:
    if row["digest_at"] is not None:
        return f"at {row['digest_at']} {row['zone']}"
    return "" if row["digest_minutes"] is None else f"every {row['digest_minutes']} min"


def _quiet_row(quiet_hours: QuietHours) -> dict[str, str]:
    return {
        "starts": f"{quiet_hours.starts:%H:%M}",
        "ends": f"{quiet_hours.ends:%H:%M}",
        "zone": quiet_hours.zone,
    }


def _quiet_text(quiet_hours: QuietHours | None) -> str:
    return "none" if quiet_hours is None else "{starts} to {ends}, {zone}".format(**_quiet_row(quiet_hours))
