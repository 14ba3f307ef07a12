"""What is sent is made once, by the worker that takes a delivery first, and kept with it: sent again it is the same."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypeAlias

import msgspec
from psycopg import Error

from streamworkers.database import Connection
from streamworkers.faults import describe
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.content import Content, Picture
from streamworkers.notifications.store.sending import (
    DeliveryRow,
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
    connection: Connection, row: DeliveryRow, channel: MessageChannel, public_url: str | None, draw: DrawPicture | None
) -> None:
    """Make and keep what is sent of a delivery; nothing joins a digest meanwhile or later. Raises NoPartsError."""
    with connection.transaction() if row.is_digest else nullcontext():
        if row.is_digest:
            lock_digest(connection, row.id)
        _make_parts(connection, row, channel, public_url, draw)


def _make_parts(
    connection: Connection, row: DeliveryRow, channel: MessageChannel, public_url: str | None, draw: DrawPicture | None
) -> None:
    try:
        content, picture = _make_content(connection, row, channel, public_url, draw)
        parts = channel.render(content, row.target, has_picture=picture is not None)
    except Error:
        raise
    except Exception as error:
        raise NoPartsError(f"no message can be made of it: {describe(error)}") from error
    if not parts:
        raise NoPartsError(f"the channel {row.channel} made no message of it")
    keep_parts(connection, row.id, msgspec.to_builtins(content), parts, None if picture is None else picture.data)


def _make_content(
    connection: Connection, row: DeliveryRow, channel: MessageChannel, public_url: str | None, draw: DrawPicture | None
) -> tuple[Content, Picture | None]:
    if row.content is not None:
        return msgspec.convert(row.content, Content), None
    notifications = read_notifications_of(connection, row.id)
    if not notifications:
        raise ValueError("it has neither a content nor a notification")
    # A message that waited for others and stayed alone is none of several.
    is_several = row.is_digest and len(notifications) > 1
    content = write_digest(notifications) if is_several else write_content(notifications[0], public_url)
    has_picture = draw is not None and channel.takes_pictures and not is_several
    return content, draw(connection, notifications) if draw is not None and has_picture else None
