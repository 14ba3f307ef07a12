"""Local times of a zone as moments: right also on the days on which its clocks change. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from streamworkers.notifications.preferences import QuietHours, find_zone

_HOUR, _SECOND = timedelta(hours=1), timedelta(seconds=1)
_HOURS_AHEAD = 49  # quiet hours are shorter than a day, of which the longest has 25 hours


def is_quiet(quiet: QuietHours, moment: datetime) -> bool:
    """True if a clock in the zone shows a time within the quiet hours; their end is not within."""
    shown = moment.astimezone(find_zone(quiet.zone)).time()
    if quiet.starts < quiet.ends:
        return quiet.starts <= shown < quiet.ends
    return shown >= quiet.starts or shown < quiet.ends


def quiet_end(quiet: QuietHours, moment: datetime) -> datetime:
    """The first moment from this one on that is not within quiet hours.

    An hour that clocks show twice is quiet twice, and one that they skip ends with the skip.
    """
    if not is_quiet(quiet, moment):
        return moment
    zone = find_zone(quiet.zone)
    ends = [*_moments_of(quiet.ends, zone, moment), *_clock_changes(zone, moment)]
    return min(end for end in ends if end > moment and not is_quiet(quiet, end))


def next_local_time(at: time, zone_name: str, moment: datetime) -> datetime:
    """The first moment after this one at which it is that time in the zone, once a day.

    Of a time that clocks show twice it is the first, and for one that they skip as much later as they skip.
    """
    zone = find_zone(zone_name)
    day = moment.astimezone(zone).date()
    days = (day + timedelta(days=n) for n in (-1, 0, 1, 2))
    candidates = (datetime.combine(each, at, zone).astimezone(UTC) for each in days)
    return min(each for each in candidates if each > moment)


def _moments_of(at: time, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    day = moment.astimezone(zone).date()
    for n in (-1, 0, 1, 2):
        for fold in (0, 1):
            yield datetime.combine(day + timedelta(days=n), at, zone).replace(fold=fold).astimezone(UTC)


def _clock_changes(zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    """The moments within the next two days at which the offset of the zone changes."""
    start = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    for n in range(_HOURS_AHEAD):
        low, high = start + n * _HOUR, start + (n + 1) * _HOUR
        if _offset(zone, low) == _offset(zone, high):
            continue
        before = _offset(zone, low)
        while high - low > _SECOND:
            middle = (low + (high - low) / 2).replace(microsecond=0)
            low, high = (middle, high) if _offset(zone, middle) == before else (low, middle)
        yield high


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()
