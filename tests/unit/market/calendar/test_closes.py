"""When bars are closed: every timeframe, early closes, days of 23 and 25 hours, other calendars, unknown times."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.closes import (
    days_around,
    find_close,
    find_newest_closed,
    find_session_end,
    require_covered,
)
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import Hours, Windows, windows_between

NEW_YORK = ZoneInfo("America/New_York")
DAY, WEEK, MONTH = (TIMEFRAMES[name] for name in ("day", "week", "month"))


def _new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def _windows(moment: datetime, calendar: str = "XNYS", hours: Hours = "regular") -> Windows:
    return windows_between(*days_around(moment), hours, calendar=calendar)


@pytest.mark.parametrize(
    ("timeframe", "moment", "newest"),
    [
        ("day", "2024-07-03 10:00", date(2024, 7, 2)),
        ("day", "2024-07-03 12:59:59.999", date(2024, 7, 2)),
        ("day", "2024-07-03 13:00", date(2024, 7, 3)),  # an early close
        ("day", "2024-07-04 16:00", date(2024, 7, 3)),  # a holiday
        ("day", "2024-07-05 15:59:59.999999", date(2024, 7, 3)),
        ("day", "2024-07-05 16:00", date(2024, 7, 5)),
        ("day", "2024-07-07 12:00", date(2024, 7, 5)),  # a Sunday
        ("day", "2024-03-08 16:00", date(2024, 3, 8)),  # the last close before the clocks change, and the first after
        ("day", "2024-03-11 15:59:59", date(2024, 3, 8)),
        ("day", "2024-03-11 16:00", date(2024, 3, 11)),
        ("day", "2024-11-01 16:00", date(2024, 11, 1)),
        ("day", "2024-11-04 16:00", date(2024, 11, 4)),
        ("week", "2024-07-10 18:00", date(2024, 7, 1)),  # a Wednesday
        ("week", "2024-07-12 15:59:59.999", date(2024, 7, 1)),
        ("week", "2024-07-12 16:00", date(2024, 7, 8)),
        ("week", "2024-03-28 15:59", date(2024, 3, 18)),
        ("week", "2024-03-28 16:00", date(2024, 3, 25)),  # the day after is Good Friday
        ("month", "2024-07-05 18:00", date(2024, 6, 1)),
        ("month", "2024-07-31 15:59", date(2024, 6, 1)),
        ("month", "2024-07-31 16:00", date(2024, 7, 1)),
        ("month", "2024-03-28 16:00", date(2024, 3, 1)),  # Good Friday and a weekend end the month
        ("month", "2024-11-29 12:59", date(2024, 10, 1)),
        ("month", "2024-11-29 13:00", date(2024, 11, 1)),  # the month ends with an early close
    ],
)
def test_a_moment_sees_the_newest_bar_whose_window_had_ended(timeframe: str, moment: str, newest: date) -> None:
    at = _new_york(moment)
    assert find_newest_closed(_windows(at), TIMEFRAMES[timeframe], at) == newest
    assert find_close(_windows(at), TIMEFRAMES[timeframe], newest) <= at


@pytest.mark.parametrize(
    ("timeframe", "moment", "start", "is_closed"),
    [
        ("hour", "2024-07-02 15:00", "2024-07-02 14:00", True),
        ("hour", "2024-07-02 15:00", "2024-07-02 15:00", False),
        ("hour", "2024-07-02 14:59:59.999", "2024-07-02 14:00", False),
        ("hour", "2024-07-02 15:59:59.999", "2024-07-02 15:30", False),
        ("hour", "2024-07-02 16:00", "2024-07-02 15:30", True),  # half an hour: hours from the opening
        ("hour", "2024-07-02 16:00", "2024-07-02 16:00", False),
        ("hour", "2024-07-03 13:00", "2024-07-03 12:30", True),  # an early close
        ("hour", "2024-07-03 12:59", "2024-07-03 12:30", False),
        ("1min", "2024-07-02 10:03:20", "2024-07-02 10:02", True),
        ("1min", "2024-07-02 10:03:20", "2024-07-02 10:03", False),
        ("1min", "2024-07-02 16:00", "2024-07-02 15:59", True),
    ],
)
def test_intraday_bars_up_to_the_bound_are_closed_and_no_others(
    timeframe: str, moment: str, start: str, is_closed: bool
) -> None:
    at, begins = _new_york(moment), _new_york(start)
    bound = find_newest_closed(_windows(at), TIMEFRAMES[timeframe], at)
    assert isinstance(bound, datetime)
    assert (begins <= bound) is is_closed
    assert (find_close(_windows(at), TIMEFRAMES[timeframe], begins) <= at) is is_closed


def test_hours_of_extended_trading_do_not_end_with_the_session() -> None:
    at, begins = _new_york("2024-07-02 16:00"), _new_york("2024-07-02 15:30")
    extended = _windows(at, hours="extended")
    bound = find_newest_closed(extended, TIMEFRAMES["hour"], at)
    assert isinstance(bound, datetime)
    assert bound < begins
    assert find_close(extended, TIMEFRAMES["hour"], begins) == _new_york("2024-07-02 16:30")


@pytest.mark.parametrize("zone", [UTC, ZoneInfo("Asia/Tokyo"), timezone(timedelta(hours=-11))])
def test_the_zone_of_a_moment_does_not_matter(zone: timezone | ZoneInfo) -> None:
    at = _new_york("2024-07-02 16:00").astimezone(zone)
    assert find_newest_closed(_windows(at), DAY, at) == date(2024, 7, 2)


@pytest.mark.parametrize(
    ("calendar", "moment", "day", "week"),
    [
        ("24/7", "2024-07-06T23:59:59+00:00", date(2024, 7, 5), date(2024, 6, 24)),
        ("24/7", "2024-07-07T00:00:00+00:00", date(2024, 7, 6), date(2024, 6, 24)),  # a Saturday
        ("24/7", "2024-07-08T00:00:00+00:00", date(2024, 7, 7), date(2024, 7, 1)),
        ("24/5", "2024-07-07T12:00:00+00:00", date(2024, 7, 5), date(2024, 7, 1)),
        ("XTKS", "2024-07-05T05:59:00+00:00", date(2024, 7, 4), date(2024, 6, 24)),
        ("XTKS", "2024-07-05T06:00:00+00:00", date(2024, 7, 5), date(2024, 7, 1)),  # 15:00 in Tokyo
        ("XSHG", "2024-10-04T12:00:00+00:00", date(2024, 9, 30), date(2024, 9, 30)),  # in a week of holidays
        ("XSHG", "2020-01-31T12:00:00+00:00", date(2020, 1, 23), date(2020, 1, 20)),  # in a week without a session
    ],
)
def test_each_calendar_has_its_own_sessions(calendar: str, moment: str, day: date, week: date) -> None:
    at = datetime.fromisoformat(moment)
    windows = _windows(at, calendar)
    assert find_newest_closed(windows, DAY, at) == day
    assert find_newest_closed(windows, WEEK, at) == week


@pytest.mark.parametrize(
    ("day", "end"),
    [
        (date(2024, 7, 2), "2024-07-02 16:00"),
        (date(2024, 7, 3), "2024-07-03 13:00"),
        (date(2024, 7, 4), "2024-07-03 13:00"),  # a holiday
        (date(2024, 7, 7), "2024-07-05 16:00"),  # a Sunday
    ],
)
def test_a_bare_date_is_the_end_of_the_newest_session_up_to_it(day: date, end: str) -> None:
    windows = _windows(datetime(day.year, day.month, day.day, tzinfo=UTC))
    assert find_session_end(windows, day) == _new_york(end)


def test_without_sessions_days_end_at_midnight_in_utc() -> None:
    at = datetime(1990, 6, 6, 12, tzinfo=UTC)
    windows = _windows(at, "XTKS")  # of which the package knows twenty years
    assert not windows.sessions.days
    assert find_newest_closed(windows, DAY, at) == date(1990, 6, 5)
    assert find_newest_closed(windows, WEEK, at) == date(1990, 5, 28)
    assert find_newest_closed(windows, MONTH, at) == date(1990, 5, 1)
    assert find_newest_closed(windows, TIMEFRAMES["hour"], at) == at - timedelta(hours=1)
    assert find_session_end(windows, date(1990, 6, 5)) == datetime(1990, 6, 6, tzinfo=UTC)


def test_before_the_first_known_session_days_end_at_midnight_in_utc() -> None:
    whole = windows_between(date(2024, 7, 1), date(2024, 7, 31)).sessions
    place = whole.days.index(date(2024, 7, 10))
    known = Windows(replace(whole, days=whole.days[place:], sessions=whole.sessions[place:]))
    assert find_newest_closed(known, MONTH, known.sessions.sessions[0].closes) == date(2024, 6, 1)


def test_moments_before_1900_are_rejected() -> None:
    require_covered(datetime(1900, 1, 1, tzinfo=UTC))
    with pytest.raises(BadInputError, match=r"^as-of 1899-12-31T23:59:59\+00:00 is before 1900: no calendar reaches"):
        require_covered(datetime(1899, 12, 31, 23, 59, 59, tzinfo=UTC))


def test_the_end_of_time_has_days_around_it() -> None:
    assert days_around(datetime(9999, 12, 31, 23, tzinfo=UTC))[1] == date.max
