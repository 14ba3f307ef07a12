"""Intervals: ticks a fixed time apart, which no change of the clocks moves, as in `every 90m`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.sessions import Sessions
from streamworkers.schedules.local_time import first_instant, first_second_after, midnight

_TEXT = re.compile(r"every\s+((?:[0-9]{1,9}[dhms])+)(?:\s+from\s+(\S.*))?")
_PART = re.compile(r"([0-9]+)([dhms])")
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_LONGEST = timedelta(days=366)
_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_NONE = timedelta()
_DEFAULT_ANCHOR = datetime(2001, 1, 1)  # noqa: DTZ001  # a local time; a Monday


@dataclass(frozen=True, slots=True)
class Interval:
    """A tick at the anchor and each `step` of elapsed time after it.

    An anchor without an offset is a local time of the schedule's zone.
    """

    step: timedelta
    anchor: datetime = _DEFAULT_ANCHOR

    @classmethod
    def parse(cls, text: str) -> "Interval":
        """Parse the text of a schedule's cron. Raises BadInputError naming the rule."""
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise BadInputError(
                f"{text[:80]!r} is not every and a time such as 90m, 1h30m, 45s or 2d, alone or with from and a date"
                " and time such as 2026-01-05 09:30"
            )
        words, anchor = found.groups()
        seconds = sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(words))
        if not 1 <= seconds <= _LONGEST.total_seconds():
            raise BadInputError(f"{text[:80]!r}: an interval is from 1s to {_LONGEST.days}d long")
        return cls(timedelta(seconds=seconds), _DEFAULT_ANCHOR if anchor is None else _parse_anchor(anchor))

    def after(
        self, moment: datetime, zone: ZoneInfo, sessions: Sessions | None = None
    ) -> Iterator[tuple[datetime, date]]:
        """The ticks after an aware moment, in UTC and in order, each with its local day; they end only with sessions.

        With sessions, ticks on other days are left out.
        """
        anchor = first_instant(self.anchor, zone) if self.anchor.tzinfo is None else self.anchor.astimezone(UTC)
        place = self._first_place(anchor, first_second_after(moment))
        while True:
            tick = anchor + place * self.step
            day = tick.astimezone(zone).date()
            place += 1
            if sessions is None or day in sessions:
                yield tick, day
                continue
            if (following := sessions.next_day(day)) is None:
                return
            # Stepping by a second through a weekend takes too long.
            place = max(place, self._first_place(anchor, first_instant(midnight(following), zone)))

    def _first_place(self, anchor: datetime, instant: datetime) -> int:
        """The number of the first tick at or after an instant; the anchor is 0."""
        return max(0, -((anchor - instant) // self.step))


def _parse_anchor(text: str) -> datetime:
    try:
        anchor = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(
            f"an interval begins from {text[:40]!r}, which is no date and time such as 2026-01-05 09:30"
        ) from None
    if anchor.microsecond or (anchor.utcoffset() or _NONE).microseconds or not _FIRST_YEAR <= anchor.year <= _LAST_YEAR:
        raise BadInputError(
            f"an interval begins from {text[:40]!r}, which is not a whole second of the years {_FIRST_YEAR} to"
            f" {_LAST_YEAR}"
        )
    return anchor
