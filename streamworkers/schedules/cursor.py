"""How far the ticks of a timing are decided, and those that follow. No I/O.

Planning begins at the last decided tick and never at a planned one, so that a tick whose moment moves earlier, by a new
early close or newer time zones, is found. A tick that has a label is known by it: it is decided once, although replicas
with different calendars or time zones give it different moments.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import takewhile
from typing import NamedTuple

from streamworkers.market.calendar.sessions import YEARS_AHEAD, sessions_around
from streamworkers.schedules.timing import SessionMoment, Tick, Timing

# A session begins and ends within so long of the midnight of its day, offsets included.
_SESSION_LEAD = timedelta(days=3)
_INSTANT = timedelta(microseconds=1)


class Cursor(NamedTuple):
    """Up to where ticks are decided: up to `until`, or up to `label` if they have one.

    Those up to `valid_from` are none of the timing. `until` and `label` are None while none of its ticks is decided; a
    label may be that of an earlier timing.
    """

    valid_from: datetime
    until: datetime | None = None
    label: datetime | None = None

    def is_past(self, timing: Timing, tick: Tick) -> bool:
        """Whether a tick of the timing is decided, as far as this says."""
        if self.label is not None and (label := timing.label(tick)) is not None:
            return label <= self.label
        return self.until is not None and tick.moment <= self.until

    def past(self, timing: Timing, tick: Tick | None) -> "Cursor":
        """The cursor when a tick, and all before it, are decided; this one if it is None."""
        return self if tick is None else Cursor(self.valid_from, tick.moment, timing.label(tick))


@dataclass(frozen=True, slots=True)
class TimingSpan:
    """A timing for as long as it was valid; `timing_id` and `valid_to` are None of the one that is valid now."""

    timing: Timing
    cursor: Cursor
    timing_id: int | None = None
    valid_to: datetime | None = None

    def find_undecided(self, now: datetime) -> Iterator[Tick]:
        """Its ticks that are not decided."""
        valid_to = self.valid_to
        ticks = find_undecided(self.timing, self.cursor, now)
        return ticks if valid_to is None else takewhile(lambda tick: tick.moment <= valid_to, ticks)

    def reaches(self, moment: datetime) -> bool:
        """Whether it has not ended before a moment."""
        return self.valid_to is None or moment <= self.valid_to


def find_span(spans: Sequence[TimingSpan], moment: datetime) -> TimingSpan:
    """The span, of consecutive ones, that a moment is in."""
    return next(span for span in spans if span.reaches(moment))


def find_undecided(timing: Timing, cursor: Cursor, now: datetime) -> Iterator[Tick]:
    """The ticks that follow a cursor, due or not, in order; they end only with the calendar."""
    if cursor.label is None:
        start = cursor.valid_from if cursor.until is None else max(cursor.valid_from, cursor.until)
        yield from _ticks_after(timing, start, now)
        return
    if isinstance(timing.rule, SessionMoment):
        start = cursor.label.replace(tzinfo=UTC) - _SESSION_LEAD
    else:
        start = cursor.label.replace(tzinfo=timing.zone).astimezone(UTC) - _INSTANT
    for tick in _ticks_after(timing, max(cursor.valid_from, start), now):
        label = timing.label(tick)
        assert label is not None
        if label > cursor.label:
            yield tick


def _ticks_after(timing: Timing, moment: datetime, now: datetime) -> Iterator[Tick]:
    """The ticks after a moment, over one reading of the calendar and the next, to those that reach beyond `now`."""
    last, reads_on = moment, True
    while reads_on:
        for tick in timing.after(moment):
            if tick.moment > last:
                last = tick.moment
                yield tick
        reads_on = False
        if timing.calendar is not None:
            ends_on = sessions_around(timing.calendar, moment).ends_on
            beyond = datetime.combine(ends_on, time.max, tzinfo=UTC)
            reads_on = moment < beyond and ends_on.year < now.year + YEARS_AHEAD
            moment = beyond
