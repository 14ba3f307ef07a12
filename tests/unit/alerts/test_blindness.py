"""An alert is blind when bars that the calendar expects are missing, after as long as the timeframe allows."""

from datetime import UTC, date, datetime

import pytest

from streamworkers.alerts.blindness import find_next_close, is_blind
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.market.calendar.windows import windows_between

WINDOWS = windows_between(date(2025, 9, 1), date(2026, 2, 28))


def _there(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=EXCHANGE_ZONE)


@pytest.mark.parametrize(
    ("timeframe", "newest", "now", "blind"),
    [
        # 15 minutes, over a night and over a weekend; closed hours count for nothing
        ("1min", "2025-11-05T10:00", "2025-11-05T10:15:30", False),
        ("1min", "2025-11-05T10:00", "2025-11-05T10:16", True),
        ("1min", "2025-11-05T15:59", "2025-11-06T09:44", False),
        ("1min", "2025-11-05T15:59", "2025-11-06T09:45", True),
        ("1min", "2025-11-07T15:59", "2025-11-10T09:31", False),
        # 3 hours
        ("hour", "2025-11-05T10:00", "2025-11-05T13:59", False),
        ("hour", "2025-11-05T10:00", "2025-11-05T14:00", True),
        # the close of the session after the one that is missing, by early closes and holidays
        ("day", "2025-11-05", "2025-11-07T15:59", False),
        ("day", "2025-11-05", "2025-11-07T16:00", True),
        ("day", "2025-11-25", "2025-11-28T12:59", False),
        ("day", "2025-11-25", "2025-11-28T13:00", True),
        ("week", "2025-11-03", "2025-11-17T15:59", False),
        ("week", "2025-11-03", "2025-11-17T16:00", True),
        ("month", "2025-10-01", "2025-12-01T15:59", False),
        ("month", "2025-10-01", "2025-12-01T16:00", True),
        # long ago
        ("day", "2010-01-04", "2025-11-07T16:00", True),
    ],
)
def test_bars_may_be_missing_for_a_while(timeframe: str, newest: str, now: str, blind: bool) -> None:
    assert is_blind(WINDOWS, TIMEFRAMES[timeframe], _there(newest), _there(now)) == blind


def test_a_series_without_bars_is_blind() -> None:
    assert is_blind(WINDOWS, TIMEFRAMES["day"], None, _there("2025-11-05T10:00"))


@pytest.mark.parametrize(
    ("timeframe", "now", "close"),
    [
        ("1min", "2025-11-05T10:00:20", "2025-11-05T10:01"),
        ("hour", "2025-11-05T15:30", "2025-11-05T16:00"),
        ("day", "2025-11-05T16:00", "2025-11-06T16:00"),
        ("day", "2025-11-26T17:00", "2025-11-28T13:00"),
        ("week", "2025-11-05T10:00", "2025-11-07T16:00"),
        ("month", "2025-11-28T12:00", "2025-11-28T13:00"),
        ("month", "2025-11-29T12:00", "2025-12-31T16:00"),
    ],
)
def test_the_next_close_is_that_of_the_calendar(timeframe: str, now: str, close: str) -> None:
    found = find_next_close(WINDOWS, TIMEFRAMES[timeframe], _there(now).astimezone(UTC))
    assert found == _there(close)
