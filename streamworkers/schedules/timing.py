"""When a schedule ticks: by the clock, at an interval, on sessions of an exchange, or at their openings and closes."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import islice, starmap, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.sessions import Sessions, require_calendar, sessions_around
from streamworkers.schedules.cron import Cron
from streamworkers.schedules.interval import Interval
from streamworkers.schedules.once import Once, is_once

_SESSION_MOMENT = re.compile(r"session_(open|close)(?:([+-])((?:\d{1,5}[hms])+))?")
_PART = re.compile(r"(\d+)([hms])")
_UNITS = {"h": 3600, "m": 60, "s": 1}
_LONGEST_OFFSET = timedelta(hours=23, minutes=59, seconds=59)
_INSTANT = timedelta(microseconds=1)
# Files beside those of the zones.
_NO_ZONES = {"Factory", "localtime", "posixrules"}


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
    """The ticks of a schedule: its cron, time zone and exchange calendar; all are before `ends_at`, if there is one."""

    rule: Cron | Interval | Once | SessionMoment
    zone: ZoneInfo
    calendar: str | None
    ends_at: datetime | None = None

    @classmethod
    def parse(cls, cron: str, timezone: str, calendar: str | None, ends_at: datetime | None = None) -> "Timing":
        """Parse a schedule's fields. Raises BadInputError or UnknownNameError naming value and rule."""
        if calendar is not None:
            require_calendar(calendar)
        zone = zone_named(timezone)
        return cls(_parse_rule(cron, zone, calendar), zone, calendar, ends_at)

    def after(self, moment: datetime) -> Iterator[Tick]:
        """The ticks after an aware moment, in order; they end only with the calendar, or with the schedule."""
        ticks, ends_at = self._after(moment), self.ends_at
        return ticks if ends_at is None else takewhile(lambda tick: tick.moment < ends_at, ticks)

    def ends_by_itself(self, now: datetime) -> bool:
        """Whether there is an end that its calendar reaches: then it is no problem that no tick is left."""
        if isinstance(self.rule, Once) or self.ends_at is None:
            return isinstance(self.rule, Once)
        return self.calendar is None or sessions_around(self.calendar, now).ends_on >= self.ends_at.date()

    def _after(self, moment: datetime) -> Iterator[Tick]:
        sessions = None if self.calendar is None else sessions_around(self.calendar, moment)
        if isinstance(self.rule, SessionMoment):
            assert sessions is not None
            return self.rule.after(moment, sessions)
        return starmap(Tick, self.rule.after(moment, self.zone, sessions))

    def from_moment(self, moment: datetime) -> Iterator[Tick]:
        """The ticks at and after a moment."""
        return self.after(moment - _INSTANT)

    @property
    def keeps_labels(self) -> bool:
        """Whether its ticks have labels: those of sessions and of fixed times of day."""
        return isinstance(self.rule, SessionMoment) or (isinstance(self.rule, Cron) and self.rule.is_fixed)

    def label(self, tick: Tick) -> datetime | None:
        """What a tick keeps when its moment changes with sessions or time zones: its session or its wall time.

        None for a tick that follows elapsed time: it is its moment. Labels grow with the ticks.
        """
        if not self.keeps_labels:
            return None
        if isinstance(self.rule, SessionMoment):
            return datetime.combine(tick.session, time())
        return tick.moment.astimezone(self.zone).replace(tzinfo=None)

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


def _parse_rule(cron: str, zone: ZoneInfo, calendar: str | None) -> Cron | Interval | Once | SessionMoment:
    text = cron.strip()
    if is_once(text):
        return Once.parse(text, zone)
    if text.startswith("every"):
        return Interval.parse(cron)
    if not text.startswith("session"):
        return Cron(cron)
    if calendar is None:
        raise BadInputError(f"{cron!r} needs a calendar, such as XNYS, that knows the sessions")
    return SessionMoment.parse(cron)


def zone_named(name: str) -> ZoneInfo:
    """The time zone of that name. Raises BadInputError if the tz database does not have it."""
    if name in _zone_names():
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            pass
    if name in _NO_ZONES or name.startswith(("right/", "posix/")):
        raise BadInputError(f"timezone {name!r} is not the same on every machine; name one such as America/New_York")
    raise BadInputError(f"timezone {name!r} is not a name of the tz database, such as America/New_York")


@cache
def _zone_names() -> frozenset[str]:
    # Without right/ and posix/, where the same zones are counted in other ways.
    return frozenset(available_timezones() - _NO_ZONES)


def jittered(tick: datetime, schedule_id: int, jitter_seconds: int) -> datetime:
    """When a tick is due: up to `jitter_seconds` after its moment, the same in every process."""
    if not jitter_seconds:
        return tick
    rng = random.Random(f"{schedule_id}:{tick.isoformat()}")  # noqa: S311  # only spreads load
    return tick + timedelta(seconds=rng.uniform(0, jitter_seconds))
