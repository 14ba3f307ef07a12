"""The deadline of a tick: the next time that clocks in the zone show it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from streamworkers.schedules.deadline import find_deadline


@pytest.mark.parametrize(
    ("zone", "tick", "done_by", "expected"),
    [
        ("America/New_York", "2026-12-01T23:10Z", "19:00", "2026-12-02T00:00Z"),
        ("America/New_York", "2026-12-02T00:00Z", "19:00", "2026-12-03T00:00Z"),  # at 19:00 sharp: the next day's
        ("America/New_York", "2026-12-01T23:10Z", "02:00", "2026-12-02T07:00Z"),
        ("Asia/Tokyo", "2026-12-01T23:10Z", "09:00", "2026-12-02T00:00Z"),
        ("America/New_York", "2026-03-08T04:00Z", "02:30", "2026-03-08T07:30Z"),  # skipped: as long after the skip
        ("America/New_York", "2026-11-01T04:30Z", "01:30", "2026-11-01T05:30Z"),  # shown twice: the first
        ("America/New_York", "2026-11-01T05:45Z", "01:30", "2026-11-02T06:30Z"),
    ],
)
def test_the_deadline_is_the_next_such_time(zone: str, tick: str, done_by: str, expected: str) -> None:
    found = find_deadline(datetime.fromisoformat(tick), done_by, ZoneInfo(zone))
    assert found == datetime.fromisoformat(expected)
    assert found.tzinfo is UTC
