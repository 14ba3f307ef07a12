"""When a schedule ticks: by a clock time, on sessions of an exchange, or at their openings and closes."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.sessions import Sessions, require_calendar, sessions_around
from streamworkers.schedules.cron import Cron

_SESSION_MOMENT = re.compile(r"session_(open|close)(?:([+-])((?:\d{1,5}[hms])+))?")
_PART = re.compile(r"(\d+)([hms])")
_UNITS = {"h": 3600, "m": 60, "s": 1}
_LONGEST_OFFSET = timedelta(hours=23, minutes=59, seconds=59)
_INSTANT = timedelta(microseconds=1)


class Tick(NamedTuple):
    """A moment in UTC and its session: the day in the schedule's time zone, or the exchange's session."""

    moment: datetime
    session: date


@dataclass(frozen=True, slots=True)
class SessionMoment:
    """A time relative to the opening or the close of a session, such as `session_close+10m`."""

    edge: str
    offset: timedelta

    @classmethod
    def parse(cls, text: str) -> "SessionMoment":
        """Parse the text of a schedule's cron. Raises BadInputError naming the rule."""
        found = _SESSION_MOMENT.fullmatch(text.strip())
        if found is None:
            raise BadInputError(
                f"{text!r} is not session_open or session_close, alone or with + or - and a time such as 10m or 1h30m"
            )
        edge, sign, words = found.groups()
        seconds = sum(int(count) * _UNITS[unit] for count, unit in _PART.findall(words or ""))
        offset = timedelta(seconds=seconds)
        if offset > _LONGEST_OFFSET:
            raise BadInputError(f"{text!r} is more than {_LONGEST_OFFSET} from its session")
        return cls(edge, -offset if sign == "-" else offset)

    def after(self, moment: datetime, sessions: Sessions) -> Iterator[Tick]:
        """The ticks after a moment, in order, until the sessions end."""
        for session in sessions.from_day(moment.astimezone(UTC).date() - timedelta(days=3)):
            tick = (session.opens if self.edge == "open" else session.closes) + self.offset
            if tick > moment:
                yield Tick(tick, session.day)


@dataclass(frozen=True, slots=True)
class Timing:
    """The ticks of a schedule: its cron, time zone and exchange calendar."""

    rule: Cron | SessionMoment
    zone: ZoneInfo
    calendar: str | None

    @classmethod
    def parse(cls, cron: str, timezone: str, calendar: str | None) -> "Timing":
        """Parse a schedule's fields. Raises BadInputError or UnknownNameError naming value and rule."""
        if calendar is not None:
            require_calendar(calendar)
        zone = zone_named(timezone)
        if not cron.strip().startswith("session"):
            return cls(Cron(cron), zone, calendar)
        if calendar is None:
            raise BadInputError(f"{cron!r} needs a calendar, such as XNYS, that knows the sessions")
        return cls(SessionMoment.parse(cron), zone, calendar)

    def after(self, moment: datetime) -> Iterator[Tick]:
        """The ticks after an aware moment, in order; they end only with the calendar."""
        if isinstance(self.rule, SessionMoment):
            assert self.calendar is not None
            return self.rule.after(moment, sessions_around(self.calendar, moment))
        if self.calendar is not None:
            return self._on_sessions(self.rule, moment, sessions_around(self.calendar, moment))
        return (Tick(tick, self._day(tick)) for tick in self.rule.after(moment, self.zone))

    def from_moment(self, moment: datetime) -> Iterator[Tick]:
        """The ticks at and after a moment."""
        return self.after(moment - _INSTANT)

    def list_ticks(self, moment: datetime, count: int) -> list[Tick]:
        """The first `count` ticks at and after a moment; fewer if the calendar ends. Raises BadInputError."""
        try:
            return list(islice(self.from_moment(moment), count))
        except (OverflowError, ValueError):
            raise BadInputError(f"the ticks from {moment.isoformat()} on leave the years 1 to 9999") from None

    def calendar_days_left(self, now: datetime) -> int | None:
        """The number of days until the calendar ends; None without a calendar."""
        if self.calendar is None:
            return None
        return (sessions_around(self.calendar, now).ends_on - now.astimezone(UTC).date()).days

    def _on_sessions(self, cron: Cron, moment: datetime, sessions: Sessions) -> Iterator[Tick]:
        start: datetime | None = moment
        while start is not None:
            moment, start = start, None
            for tick in cron.after(moment, self.zone):
                day = self._day(tick)
                if day in sessions:
                    yield Tick(tick, day)
                    continue
                if (following := sessions.next_day(day)) is not None:
                    # Jump to the next session: stepping a per-second cron through a weekend takes too long.
                    midnight = datetime.combine(following, time(), tzinfo=self.zone).astimezone(UTC)
                    start = max(tick, midnight - _INSTANT)
                break

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()


def zone_named(name: str) -> ZoneInfo:
    """The time zone of that name. Raises BadInputError if the tz database does not have it."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise BadInputError(f"timezone {name!r} is not a name of the tz database, such as America/New_York") from None


def jittered(tick: datetime, schedule_id: int, jitter_seconds: int) -> datetime:
    """When a tick is due: up to `jitter_seconds` after its moment, the same in every process."""
    if not jitter_seconds:
        return tick
    rng = random.Random(f"{schedule_id}:{tick.isoformat()}")  # noqa: S311  # only spreads load
    return tick + timedelta(seconds=rng.uniform(0, jitter_seconds))
