"""Local times and instants, where clocks change."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from streamworkers.schedules.local_time import first_instant, first_second_after, span_at

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        ("2026-03-08 01:59:59", "2026-03-08 06:59:59"),
        ("2026-03-08 02:00:00", "2026-03-08 07:00:00"),
        ("2026-03-08 02:30:00", "2026-03-08 07:00:00"),
        ("2026-03-08 02:59:59", "2026-03-08 07:00:00"),
        ("2026-03-08 03:00:00", "2026-03-08 07:00:00"),
        ("2026-11-01 01:30:00", "2026-11-01 05:30:00"),
        ("2026-11-01 02:00:00", "2026-11-01 07:00:00"),
        ("2050-03-13 02:30:00", "2050-03-13 07:00:00"),
    ],
)
def test_a_local_time_is_its_first_instant_or_the_change_that_skips_it(local: str, instant: str) -> None:
    found = first_instant(datetime.fromisoformat(local), NEW_YORK)
    assert found == datetime.fromisoformat(instant).replace(tzinfo=UTC)


def test_spans_follow_each_other_and_one_ends_at_each_change() -> None:
    moment, changes, offset = datetime(2026, 1, 1, 5, tzinfo=UTC), [], timedelta(hours=-5)
    while moment.year == 2026:
        span = span_at(moment, NEW_YORK)
        assert moment < span.ends
        if span.offset != offset:
            changes.append(moment)
        moment, offset = span
    assert changes == [datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)]
    assert span_at(changes[0] - timedelta(seconds=1), NEW_YORK).offset == timedelta(hours=-5)
    assert span_at(changes[0], NEW_YORK).offset == timedelta(hours=-4)


def test_the_first_second_after_a_moment_is_a_whole_one() -> None:
    second = datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
    for microseconds in (1, 500_000, 1_000_000):
        assert first_second_after(second - timedelta(microseconds=microseconds)) == second
    assert first_second_after(second.astimezone(NEW_YORK)) == second + timedelta(seconds=1)
