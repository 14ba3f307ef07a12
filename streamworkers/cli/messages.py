"""`streamworkers messages`: what other programs have sent, and what came of each message."""

from typing import Any

import click

from streamworkers.cli.checked_text import check_since
from streamworkers.cli.session import (
    Session,
    json_option,
    limit_option,
    parse_since,
    print_json,
    print_table,
)
from streamworkers.database import Connection
from streamworkers.engine.redis.keys import (
    DATA_LOAD_CHANNEL,
    DATA_LOAD_STREAM,
    NOTIFICATIONS_CHANNEL,
    NOTIFICATIONS_STREAM,
    Keys,
)
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.messages.history import STATES
from streamworkers.messages.listing import MessageFilter, list_channels, list_messages, read_message
from streamworkers.messages.replays import describe_effect

_message_argument = click.argument("number", type=click.IntRange(1, 2**63 - 1), metavar="MESSAGE")
_NAMES = (DATA_LOAD_CHANNEL, DATA_LOAD_STREAM, NOTIFICATIONS_CHANNEL, NOTIFICATIONS_STREAM)
_COLUMNS = {
    "id": "id",
    "received_at": "received",
    "channel": "channel",
    "kind": "type",
    "sender": "from",
    "state": "state",
    "times": "times",
    "effect": "runs",
    "why": "why",
}
_SHOWN = (
    *("received_at", "sent_at", "channel", "entry_id", "replicas", "kind", "external_id", "sender", "state", "reason"),
    *("detail", "runs", "notification_id", "replayed_at", "replayed_by", "times", "last_at", "content_bytes"),
)


@click.group(short_help="Messages of other programs: list, show, replay.")
def messages() -> None:
    """Messages of other programs: accepted, repeated, ignored or rejected, with the reason and the runs."""


@messages.command("list", short_help="List messages, newest first.")
@click.option("--state", type=click.Choice(STATES), help="Only messages in this state.")
@click.option("--since", callback=check_since, help="Only messages received since this date or ISO time.")
@click.option("--channel", help="Only messages of this channel or stream.")
@limit_option
@json_option
def list_newest(state: str | None, since: str | None, channel: str | None, limit: int, as_json: bool) -> None:
    """List messages, newest first. A row with more than one in `times` counts those of an hour beyond the first."""
    session = Session.open()
    moment = parse_since(since) if since else None
    with session.database() as connection:
        if channel is not None:
            _require_channel(connection, session, channel)
        rows = list_messages(connection, MessageFilter(state, channel, moment), limit)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        row["effect"] = row["notification_id"] or " ".join(map(str, row["runs"]))
        row["why"] = "" if row["state"] == "accepted" else f"{row['reason']}: {row['detail']}"
    print_table(rows, _COLUMNS, "no messages match", longest=120)


@messages.command(short_help="Show a message with its content.")
@_message_argument
@json_option
def show(number: int, as_json: bool) -> None:
    """Show a message: where it came from, when, what came of it and why, and its first bytes."""
    with Session.open().database() as connection:
        row = read_message(connection, number)
    if row is None:
        raise BadInputError(f"no message has the id {number}: see `streamworkers messages list`")
    content = None if row["content"] is None else bytes(row["content"]).decode("utf-8", "backslashreplace")
    if as_json:
        print_json({**row, "content": content})
        return
    for name in _SHOWN:
        if row[name] not in (None, "", []):
            value = " ".join(map(str, row[name])) if name == "runs" else row[name]
            click.echo(f"{name}: {value}")
    if content is not None:
        click.echo(f"content{'' if row['is_whole'] else ' (its beginning)'}: {content}")


@messages.command(short_help="Do what a message asks for that was not accepted.")
@_message_argument
@json_option
def replay(number: int, as_json: bool) -> None:
    """Do what a rejected, ignored or repeated MESSAGE asks for, once its cause is mended.

    It is done at most once: repeated, the command answers the same. The message keeps its state, with the time of the
    replay.
    """
    from scheduler.replays import replay_message
    from streamworkers.engine.host.scheduler_package import require_own_scheduler

    require_own_scheduler()
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        replayed = replay_message(connection, streams, installed_jobs(), session.settings, number)
    row: dict[str, Any] = {"id": number, "runs": list(replayed.runs), "notification_id": replayed.notification_id}
    if as_json:
        print_json({**row, "is_new": replayed.is_new})
    else:
        click.echo(f"message {number} {'' if replayed.is_new else 'was '}replayed: {describe_effect(row)}")


def _require_channel(connection: Connection, session: Session, channel: str) -> None:
    keys = Keys(session.settings.key_prefix, session.settings.message_prefix)
    known = {*map(keys.message_name, _NAMES), *list_channels(connection)}
    if channel not in known:
        raise UnknownNameError("channel", channel, sorted(known))
