"""The rule of a schedule that ticks once: `at 2026-12-01T19:00`, in its time zone or with an offset. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from streamworkers.market.calendar.sessions import Sessions
from streamworkers.schedules.written_times import parse_time_in_zone

_PREFIX = "at "


@dataclass(frozen=True, slots=True)
class Once:
    """The one moment of such a schedule, in UTC."""

    moment: datetime

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> "Once":
        """Parse the text of a schedule's cron. Raises BadInputError naming the rule."""
        return cls(parse_time_in_zone(text.strip().removeprefix(_PREFIX), zone))

    def after(
        self, moment: datetime, zone: ZoneInfo, sessions: Sessions | None = None
    ) -> Iterator[tuple[datetime, date]]:
        """The moment with its local day, if it is later than another one, and on a session if there are sessions."""
        day = self.moment.astimezone(zone).date()
        if self.moment > moment and (sessions is None or day in sessions):
            yield self.moment, day


def is_once(text: str) -> bool:
    """Whether the text of a schedule's cron is of this form."""
    return text.strip().startswith(_PREFIX)


def write_once(moment: datetime, zone: ZoneInfo) -> str:
    """The text that stands for a moment, whichever offset the zone has then."""
    return f"{_PREFIX}{moment.astimezone(zone).isoformat()}"
