"""The local time of a zone and instants: which instant a local time is, and how long an offset from UTC stays.

Instants are aware and in UTC; local times are naive, with whole seconds. A zone is taken to change its offset at most
once in `_SAMPLE`; the time zone database has no changes closer than days.
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_SAMPLE = timedelta(hours=2)
_SPAN = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OffsetSpan(NamedTuple):
    """A time of one offset from UTC; it ends at a change of the clocks, or earlier where nothing changes."""

    ends: datetime
    offset: timedelta


def midnight(day: date) -> datetime:
    """The local time at which a day begins, also where the clocks skip it."""
    return datetime.combine(day, time())


def first_second_after(moment: datetime) -> datetime:
    """The first whole second after an aware moment."""
    return moment.astimezone(UTC).replace(microsecond=0) + _SECOND


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a local time: the first of two, and of one that the clocks skip, the moment of the change."""
    aware = local.replace(tzinfo=zone)
    instant = aware.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local:
        return instant
    # By the offset before the change it is after it, and by the offset after the change it is before it.
    return _find_change(aware.replace(fold=1).astimezone(UTC), instant, zone)


def span_at(instant: datetime, zone: ZoneInfo) -> OffsetSpan:
    """The time of one offset that an instant is in."""
    spans = _list_spans(zone, (instant - _EPOCH) // _SPAN)
    return next(span for span in spans if instant < span.ends)


@lru_cache(maxsize=4096)
def _list_spans(zone: ZoneInfo, number: int) -> tuple[OffsetSpan, ...]:
    """The spans of the `number`th `_SPAN` since 1970."""
    begins = _EPOCH + number * _SPAN
    ends = begins + _SPAN
    spans = []
    before, offset = begins, _offset_at(begins, zone)
    while before < ends:
        after = before + _SAMPLE
        following = _offset_at(after, zone)
        if following != offset:
            spans.append(OffsetSpan(_find_change(before, after, zone), offset))
            offset = following
        before = after
    if not spans or spans[-1].ends < ends:
        spans.append(OffsetSpan(ends, offset))
    return tuple(spans)


def _offset_at(instant: datetime, zone: ZoneInfo) -> timedelta:
    offset = instant.astimezone(zone).utcoffset()
    assert offset is not None
    return offset


def _find_change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first second with another offset than the one at `before`; `after` has another one."""
    offset = _offset_at(before, zone)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        middle = middle.replace(microsecond=0)
        if _offset_at(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after
