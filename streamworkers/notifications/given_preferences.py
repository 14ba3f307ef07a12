"""Preferences as people and programs give them: names that have to be known, and times as texts."""

from collections.abc import Iterable, Mapping
from datetime import time

from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.notification_types import ANY, CODE_TYPE, NOTIFICATION_TYPES
from streamworkers.notifications.store.notifications import find_types


def require_known_names(
    connection: Connection, channels: Mapping[str, MessageChannel], type_name: str, channel: str
) -> None:
    """Raise UnknownNameError for a name that nothing has: its preference would have no effect, and nobody notices."""
    if type_name != ANY:
        require_known_type(connection, type_name)
    if channel != ANY:
        require_known_channels(channels, [channel])


def require_known_channels(channels: Mapping[str, MessageChannel], names: Iterable[str]) -> None:
    """Raise UnknownNameError for a channel that there is not: what is for it alone would reach nobody."""
    for name in names:
        if name not in channels:
            raise UnknownNameError("channel", name, channels)


def require_known_type(connection: Connection, type_name: str) -> None:
    """Raise UnknownNameError for a type that is not built in, and that no notification has had."""
    known = ({*NOTIFICATION_TYPES} - {CODE_TYPE}) | find_types(connection)
    if type_name not in known:
        raise UnknownNameError("type of notification", type_name, known)


def parse_local_time(text: str) -> time:
    """The local time of a text such as 18:00. Raises BadInputError."""
    try:
        return time.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a local time of hours and minutes, such as 18:00") from None
