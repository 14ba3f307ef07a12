"""Turns the times in a file into the times of bars: the zone, the session, the label of a week or month, sane years."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from streamworkers.market.bars.rules import BrokenRuleError, Rule, quote_short
from streamworkers.market.bars.time_text import TimeSpelling, has_open_order
from streamworkers.market.calendar.exchange import Exchange
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe

WeekLabel = Literal["start", "end"]

FIRST_YEAR = 1800
_CACHED_VALUES = 1 << 16
_SUNDAY = 6
# The clock of New York at which its daily bars are stamped: midnight, the opening, the two closes.
_STAMPS_OF_NEW_YORK = (time(0), time(9, 30), time(13), time(16))
_HOURS_OF_NEW_YORK = time(9, 30), time(16)
_OTHER_ZONES = tuple(
    map(
        ZoneInfo,
        (
            "Asia/Tokyo",
            "Asia/Hong_Kong",
            "Asia/Kolkata",
            "Asia/Jakarta",
            "Australia/Sydney",
            "Pacific/Auckland",
            "Europe/Berlin",
            "Europe/London",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Home:
    """Where the bars of a file are traded.

    The zone of an exchange that somebody named, or a symbol's ending, decides what a stamp means. One that is only the
    default does not. `is_judge` rejects bars on days without a session. `zone` is that of times without one.
    """

    exchange: Exchange | None = None
    is_named: bool = False
    is_judge: bool = True
    zone: ZoneInfo | None = None
    week_label: WeekLabel | None = None


@dataclass(slots=True)
class ZonesUsed:
    """What the times of a file needed: the zone that naive ones were read in, and the one that dated moments."""

    of_naive: str | None = None
    of_moments: str | None = None
    moved_labels: bool = False


class BarTimes:
    """Parses the times of one file, or of those of its symbols that trade on one exchange.

    Day, week and month take a date or a timestamp. A timestamp of midnight stands for its own date, in any zone.
    Another one in UTC gives its date on the exchange. Intraday takes a timestamp; without a zone it is in `zone`, else
    in that of the exchange, and is the first pass of the hour that is repeated in autumn. Labels of weeks become their
    Monday, those of months the first. Without an exchange, dates are those of New York, and no day is off session.
    """

    def __init__(self, timeframe: Timeframe, spelling: TimeSpelling | None = None, home: Home | None = None) -> None:
        home = home or Home()
        self.timeframe = timeframe
        self.used = ZonesUsed()
        self._spelling = spelling or TimeSpelling()
        self._zone, self._week_label = home.zone, home.week_label
        self._judge = home.exchange if home.is_judge else None
        self._home = home.exchange.zone if home.exchange is not None and home.is_named else None
        self._last_year = datetime.now(UTC).year + 1
        self.known = lru_cache(_CACHED_VALUES)(self._known)

    def _known(self, text: str) -> str | None:
        """Return what `parse` returns, or None if it raises. Cached as `known`, because a file repeats its times."""
        try:
            return self.parse(text)
        except BrokenRuleError:
            return None

    def parse(self, text: str) -> str:
        """Return the start of a bar in the form of `BarRows.times`. Raises BrokenRuleError for anything else."""
        found = self._spelling.read(text)
        if found is None:
            raise self._not_a_time(text)
        if isinstance(found, datetime):
            self._require_year(text, found.year)
        if not self.timeframe.intraday:
            return self._label(text, self._date(text, found) if isinstance(found, datetime) else found).isoformat()
        if not isinstance(found, datetime):
            raise BrokenRuleError(Rule.BAD_TIME, f"{quote_short(text)} is a date; an intraday bar needs a time of day")
        moment = self._moment(text, found)
        self._require_session(moment.astimezone(self._home or EXCHANGE_ZONE).date())
        return moment.isoformat()

    def _moment(self, text: str, found: datetime) -> datetime:
        try:
            if found.tzinfo is not None:
                return found.astimezone(UTC)
            zone = self._zone or self._home or EXCHANGE_ZONE
            self.used.of_naive = zone.key
            moment = found.replace(tzinfo=zone).astimezone(UTC)
        except OverflowError:
            raise self._not_a_time(text) from None
        if moment.astimezone(zone).replace(tzinfo=None) != found:
            raise BrokenRuleError(Rule.BAD_TIME, f"{quote_short(text)} does not exist in {zone.key}: clocks go forward")
        return moment

    def _date(self, text: str, found: datetime) -> date:
        """Return the date on the exchange that a timestamp of a day, week or month stands for."""
        is_midnight = found.time() == time()
        if is_midnight or (found.tzinfo is None and self._zone is None):
            return found.date()
        moment = self._moment(text, found)
        if (home := self._home or self._zone) is not None:
            self.used.of_moments = home.key
            return moment.astimezone(home).date()
        if found.utcoffset():
            return found.date()
        return self._date_in_new_york(text, moment)

    def _date_in_new_york(self, text: str, moment: datetime) -> date:
        """Return the date in New York of a moment in UTC, if it can hardly be meant for another exchange."""
        local = moment.astimezone(EXCHANGE_ZONE)
        clock = local.time()
        if clock not in _STAMPS_OF_NEW_YORK:
            others = [zone.key for zone in _OTHER_ZONES if moment.astimezone(zone).time() == time()]
            if others or not _HOURS_OF_NEW_YORK[0] <= clock <= _HOURS_OF_NEW_YORK[1]:
                why = f"it is midnight in {others[0]}" if others else "it is outside of trading hours in New York"
                raise BrokenRuleError(
                    Rule.BAD_TIME,
                    f"{quote_short(text)} leaves open which day it is: {why}; name the exchange with --calendar, or the"
                    " zone with --timezone",
                )
        self.used.of_moments = EXCHANGE_ZONE.key
        return local.date()

    def _label(self, text: str, day: date) -> date:
        self._require_year(text, day.year)
        if self.timeframe.name == "day":
            self._require_session(day)
            return day
        start = day.replace(day=1) if self.timeframe.name == "month" else self._monday(text, day)
        self.used.moved_labels |= start != day
        return start

    def _monday(self, text: str, day: date) -> date:
        weekday = day.weekday()
        if weekday != _SUNDAY or self._week_label == "end":
            return day - timedelta(days=weekday)
        if self._week_label == "start":
            return day + timedelta(days=1)
        raise BrokenRuleError(
            Rule.AMBIGUOUS_WEEK,
            f"{quote_short(text)} is a Sunday, which can begin or end a week; add --week-label start or"
            " --week-label end",
        )

    def _require_year(self, text: str, year: int) -> None:
        if not FIRST_YEAR <= year <= self._last_year:
            raise BrokenRuleError(
                Rule.BAD_YEAR,
                f"{quote_short(text)} is in the year {year}, outside of {FIRST_YEAR} to {self._last_year}",
            )

    def _require_session(self, day: date) -> None:
        if self._judge is not None and self._judge.has_session(day) is False:
            raise BrokenRuleError(
                Rule.OFF_SESSION,
                f"{day} ({day:%A}) is no session of {self._judge.calendar}; another calendar is named with"
                " --calendar, such as 24/7",
            )

    def _not_a_time(self, text: str) -> BrokenRuleError:
        if self._spelling.order is None and has_open_order(text):
            return BrokenRuleError(
                Rule.BAD_TIME,
                f"{quote_short(text)} can be of two months; add --date-format DD/MM/YYYY or --date-format MM/DD/YYYY",
            )
        wanted = "YYYY-MM-DD HH:MM:SS" if self.timeframe.intraday else "YYYY-MM-DD"
        return BrokenRuleError(Rule.BAD_TIME, f"{quote_short(text)} is not a date or time like {wanted} (ISO 8601)")


# For bars whose times need no judgement of an exchange: those of packages, and those that are ISO already.
DAYS, MOMENTS = BarTimes(TIMEFRAMES["day"]), BarTimes(TIMEFRAMES["1min"])
