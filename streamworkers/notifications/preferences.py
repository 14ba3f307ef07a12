"""What users want: how notifications of a type come on a channel, and their quiet hours. Checked values."""

from dataclasses import dataclass
from datetime import time
from functools import lru_cache
from typing import Literal, TypeAlias
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError
from streamworkers.names import NameKind, require_name
from streamworkers.notifications.notification import show
from streamworkers.notifications.notification_types import ANY, CODE_TYPE

Mode: TypeAlias = Literal["instant", "digest", "off"]
MODES: tuple[Mode, ...] = ("instant", "digest", "off")
MOST_DIGEST_MINUTES = 10_080


@dataclass(frozen=True, slots=True)
class Preference:
    """How a user wants notifications of a type on a channel; `*` stands for all without a preference of their own.

    A digest comes every `digest_minutes`, or each day at `digest_at`, a local time in `zone`; with neither, as often
    as the setting `digest_minutes` says.
    """

    type: str
    channel: str
    mode: Mode
    digest_minutes: int | None = None
    digest_at: time | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Local times in a zone between which only what is urgent goes out; they may go over midnight."""

    starts: time
    ends: time
    zone: str


def require_preference(preference: Preference) -> Preference:
    """Return it. Raises BadInputError that names the value and the rule."""
    named: tuple[tuple[NameKind, str], ...] = ("type", preference.type), ("channel", preference.channel)
    for kind, value in named:
        if value != ANY:
            require_name(kind, value)
    if preference.type == CODE_TYPE:
        raise BadInputError(f"{CODE_TYPE} has no preference: a code comes when it is asked for")
    if preference.mode not in MODES:
        raise BadInputError(f"mode {show(preference.mode)} is none of {', '.join(MODES)}")
    has_times = preference.digest_minutes is not None or preference.digest_at is not None
    if has_times and preference.mode != "digest":
        raise BadInputError(f"mode {preference.mode} has no time of a digest: choose mode digest")
    if preference.digest_minutes is not None and preference.digest_at is not None:
        raise BadInputError("a digest comes every so many minutes, or at a local time, not both")
    if preference.digest_minutes is not None and not 1 <= preference.digest_minutes <= MOST_DIGEST_MINUTES:
        raise BadInputError(f"digest_minutes {preference.digest_minutes} is not from 1 to {MOST_DIGEST_MINUTES:,}")
    if preference.digest_at is not None:
        _require_wall_time("digest_at", preference.digest_at)
        require_zone(preference.zone)
    elif preference.zone is not None:
        raise BadInputError(f"zone {show(preference.zone)} is of a digest at a local time, which is missing")
    return preference


def require_quiet_hours(quiet: QuietHours) -> QuietHours:
    """Return them. Raises BadInputError that names the value and the rule."""
    _require_wall_time("the start", quiet.starts)
    _require_wall_time("the end", quiet.ends)
    if quiet.starts == quiet.ends:
        raise BadInputError(f"quiet hours begin and end at {quiet.starts:%H:%M}: without a length they hold nothing")
    require_zone(quiet.zone)
    return quiet


@lru_cache(maxsize=256)
def find_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises BadInputError."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise BadInputError(
            f"zone {show(name)} is no time zone of the IANA database, such as America/New_York or UTC"
        ) from None


def require_zone(name: str | None) -> str:
    """Return the name of a zone that exists. Raises BadInputError; no zone is assumed."""
    if not name:
        raise BadInputError("a local time needs a zone, such as America/New_York: none is assumed")
    find_zone(name)
    return name


def _require_wall_time(what: str, value: time) -> None:
    if value.tzinfo is not None or value.second or value.microsecond:
        raise BadInputError(f"{what} {value.isoformat()} is not a local time of hours and minutes, such as 22:00")
