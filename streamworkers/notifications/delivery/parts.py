"""What is sent is made once, by the worker that takes a delivery first, and kept with it: sent again it is the same."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias
from uuid import UUID

import msgspec
from psycopg import Error

from streamworkers.database import Connection
from streamworkers.faults import describe
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.content import Content, Picture
from streamworkers.notifications.hints import find_chart_hint
from streamworkers.notifications.store.sending import (
    DeliveryRow,
    MadeParts,
    NotificationRow,
    keep_parts,
    lock_digest,
    read_notifications_of,
)
from streamworkers.notifications.wording import write_content, write_digest

DrawPicture: TypeAlias = Callable[[Connection, Sequence[NotificationRow]], Picture | None]


class NoPartsError(Exception):
    """Nothing can be made of a delivery, and never will."""


def make_parts(
    connection: Connection,
    rows: Sequence[DeliveryRow],
    channels: Mapping[str, MessageChannel],
    public_url: str | None,
    draw: DrawPicture | None,
) -> dict[UUID, str]:
    """Make and keep what is sent of deliveries; returns why nothing can be made of some of them.

    Nothing joins a digest from then on. All others are kept by one commit.
    """
    troubles, made = {}, []
    for row in rows:
        try:
            channel = _channel_of(row, channels)
            if row.is_digest:
                with connection.transaction():
                    lock_digest(connection, row.id)
                    keep_parts(connection, [_make_parts(connection, row, channel, public_url, draw)])
            else:
                made.append(_make_parts(connection, row, channel, public_url, draw))
        except NoPartsError as error:
            troubles[row.id] = str(error)
    if made:
        with connection.transaction():
            keep_parts(connection, made)
    return troubles


def _channel_of(row: DeliveryRow, channels: Mapping[str, MessageChannel]) -> MessageChannel:
    channel = channels.get(row.channel)
    if channel is None:
        raise NoPartsError(f"no channel {row.channel!r} is installed")
    return channel


def _make_parts(
    connection: Connection, row: DeliveryRow, channel: MessageChannel, public_url: str | None, draw: DrawPicture | None
) -> MadeParts:
    try:
        content, picture = _make_content(connection, row, channel, public_url, draw)
        parts = channel.render(content, row.target, has_picture=picture is not None)
    except Error:
        raise
    except Exception as error:
        raise NoPartsError(f"no message can be made of it: {describe(error)}") from error
    if not parts:
        raise NoPartsError(f"the channel {row.channel} made no message of it")
    return MadeParts(row.id, msgspec.to_builtins(content), parts, None if picture is None else picture.data)


def _make_content(
    connection: Connection, row: DeliveryRow, channel: MessageChannel, public_url: str | None, draw: DrawPicture | None
) -> tuple[Content, Picture | None]:
    if row.content is not None:
        # Of an answer that a run has drawn.
        picture = None if row.picture is None else Picture(row.picture, "chart")
        return msgspec.convert(row.content, Content), picture if channel.takes_pictures else None
    notifications = read_notifications_of(connection, row.id)
    if not notifications:
        raise ValueError("it has neither a content nor a notification")
    # A message that waited for others and stayed alone is none of several.
    is_several = row.is_digest and len(notifications) > 1
    content = write_digest(notifications) if is_several else write_content(notifications[0], public_url)
    content = msgspec.structs.replace(content, is_subscribed=True)
    if is_several or not channel.takes_pictures:
        return content, None
    if draw is None:
        hint = find_chart_hint(notifications[0].type, notifications[0].data)
        return msgspec.structs.replace(content, lines=(*content.lines, hint)) if hint else content, None
    return content, draw(connection, notifications)
