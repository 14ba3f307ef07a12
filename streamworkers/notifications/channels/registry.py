"""The channels of installed packages, found by the entry point group `streamworkers.channels`."""

from importlib.metadata import EntryPoint

from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.faults import describe
from streamworkers.installed import entry_points
from streamworkers.logger import get_logger
from streamworkers.notifications.channels.channel import MessageChannel

ENTRY_POINT_GROUP = "streamworkers.channels"
log = get_logger()


def load_channels(settings: Settings) -> dict[str, MessageChannel]:
    """Return every channel by name. One that cannot be loaded is named in the log, and left out."""
    channels: dict[str, MessageChannel] = {}
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value)):
        try:
            if point.name in channels:
                raise BadInputError(f"another channel is named {point.name!r}")
            channels[point.name] = _load(point, settings)
        except Exception as error:  # noqa: BLE001  # of another package
            log.error("channel_not_loaded", channel=point.name, path=point.value, error=describe(error))
    return channels


def _load(point: EntryPoint, settings: Settings) -> MessageChannel:
    loaded = point.load()
    if not (isinstance(loaded, type) and issubclass(loaded, MessageChannel)):
        raise BadInputError(f"{point.value} is not a subclass of {MessageChannel.__module__}.MessageChannel")
    if getattr(loaded, "name", None) != point.name:
        raise BadInputError(f"the channel {point.value} is named {getattr(loaded, 'name', None)!r}, not {point.name!r}")
    return loaded(settings)
