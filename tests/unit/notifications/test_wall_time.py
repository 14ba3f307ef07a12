"""Quiet hours and digests keep to the clocks on the wall, over both changes of the clocks of three zones."""

import random
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from streamworkers.notifications.preferences import QuietHours
from streamworkers.notifications.wall_time import is_quiet, next_local_time, quiet_end

# A day before each change of the clocks in 2026.
CHANGES = {
    "America/New_York": (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)),
    "Australia/Sydney": (datetime(2026, 4, 3, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 4, 3, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)),
}
SPANS = [(time(22), time(7)), (time(1, 30), time(7)), (time(22), time(2, 15)), (time(2, 10), time(2, 20)),
         (time(9), time(17))]  # fmt: skip
MINUTE = timedelta(minutes=1)
DAYS = 4


def minutes(zone: str, start: datetime) -> list[int]:
    """What the clock shows in each minute from a moment on, by minutes of the day."""
    shown = [(start + n * MINUTE).astimezone(ZoneInfo(zone)) for n in range(DAYS * 1440)]
    return [each.hour * 60 + each.minute for each in shown]


def brute_ends(clock: list[int], starts: time, ends: time) -> list[int]:
    """For each minute, the first from it on that is not quiet: by looking at each; the last ones stay unknown."""
    low, high = starts.hour * 60 + starts.minute, ends.hour * 60 + ends.minute
    quiet = [low <= each < high if low < high else each >= low or each < high for each in clock]
    found, end = [-1] * len(clock), -1
    for n in reversed(range(len(clock))):
        end = end if quiet[n] else n
        found[n] = end
    return found


@pytest.mark.parametrize("zone", CHANGES)
def test_the_end_of_quiet_hours_is_that_of_a_search_minute_by_minute(zone: str) -> None:
    """2,000 instants in each zone; they include those at which an hour is skipped, or shown twice."""
    rng = random.Random(7)
    checked = held = 0
    for start in CHANGES[zone]:
        clock = minutes(zone, start)
        for starts, ends in SPANS:
            quiet, expected = QuietHours(starts, ends, zone), brute_ends(clock, starts, ends)
            for n in rng.sample(range((DAYS - 2) * 1440), 200):
                moment = start + n * MINUTE
                assert quiet_end(quiet, moment) == start + expected[n] * MINUTE, (zone, starts, ends, moment)
                assert is_quiet(quiet, moment) == (expected[n] > n)
                checked, held = checked + 1, held + (expected[n] > n)
    assert checked == 2000
    assert held > 300


def test_seconds_count() -> None:
    quiet = QuietHours(time(22), time(7), "UTC")
    last = datetime(2026, 1, 5, 6, 59, 59, 999_999, tzinfo=UTC)
    assert quiet_end(quiet, last) == datetime(2026, 1, 5, 7, tzinfo=UTC)
    assert quiet_end(quiet, last + timedelta(microseconds=1)) == datetime(2026, 1, 5, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "at", "moment", "expected"),
    [
        ("America/New_York", time(18), "2026-01-05T22:59:59Z", "2026-01-05T23:00:00Z"),
        ("America/New_York", time(18), "2026-01-05T23:00:00Z", "2026-01-06T23:00:00Z"),
        ("America/New_York", time(18), "2026-03-07T23:00:00Z", "2026-03-08T22:00:00Z"),  # summer time begins
        ("America/New_York", time(2, 30), "2026-03-08T06:00:00Z", "2026-03-08T07:30:00Z"),  # 02:30 is skipped
        ("America/New_York", time(1, 30), "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"),  # 01:30 comes twice
        ("Australia/Lord_Howe", time(2, 15), "2026-10-03T15:00:00Z", "2026-10-03T15:45:00Z"),
    ],
)
def test_a_daily_digest_comes_once_a_day(zone: str, at: time, moment: str, expected: str) -> None:
    assert next_local_time(at, zone, datetime.fromisoformat(moment)) == datetime.fromisoformat(expected)
