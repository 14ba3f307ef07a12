"""Relative times, panels' own ranges, and intervals are those of Grafana."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from preview.spans import Span, moment_of, override, rate_interval, span_of, step, written

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 1, 14, 23, 30, tzinfo=UTC)  # half past six in the evening in New York


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("now-6h", NOW - timedelta(hours=6)),
        ("now-1h-30m", NOW - timedelta(minutes=90)),
        ("now+2d", NOW + timedelta(days=2)),
        ("now/h", datetime(2026, 1, 14, 23, tzinfo=UTC)),
        ("now/d", datetime(2026, 1, 14, 5, tzinfo=UTC)),
        ("now-1d/d", datetime(2026, 1, 13, 5, tzinfo=UTC)),
        ("now/w", datetime(2026, 1, 12, 5, tzinfo=UTC)),
        ("now/M", datetime(2026, 1, 1, 5, tzinfo=UTC)),
    ],
)
def test_a_relative_time_is_counted_and_rounded_in_the_time_zone_of_the_board(text: str, expected: datetime) -> None:
    assert moment_of(text, NOW, NEW_YORK) == expected


def test_the_end_of_a_rounded_range_is_the_end_of_the_day() -> None:
    span = span_of({"from": "now/d", "to": "now/d"}, NOW, NEW_YORK)
    assert span.start == datetime(2026, 1, 14, 5, tzinfo=UTC)
    assert span.end == datetime(2026, 1, 15, 4, 59, 59, 999_000, tzinfo=UTC)
    assert moment_of("now/M", NOW, NEW_YORK, is_end=True) == datetime(2026, 2, 1, 4, 59, 59, 999_000, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "now-6", "now/x", ""])
def test_a_time_that_is_none_is_named_with_those_that_are(text: str) -> None:
    with pytest.raises(ValueError, match=f"time '{text}' is not one that is known here: `now`, `now-6h`"):
        moment_of(text, NOW, NEW_YORK)


def test_a_panel_has_its_own_range() -> None:
    assert override("14d", NOW, NEW_YORK) == Span(NOW - timedelta(days=14), NOW)
    assert override("now/d", NOW, NEW_YORK).start == datetime(2026, 1, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "points", "expected"),
    [
        (timedelta(hours=3), 640, timedelta(seconds=15)),  # 16.9 s
        (timedelta(hours=6), 426, timedelta(minutes=1)),  # 50 s
        (timedelta(days=14), 640, timedelta(minutes=30)),  # 31 min
        (timedelta(minutes=5), 640, timedelta(seconds=15)),  # less than a scrape
        (timedelta(days=4000), 100, timedelta(days=30)),
    ],
)
def test_an_interval_is_rounded_as_grafana_does_and_no_shorter_than_a_scrape(
    length: timedelta, points: int, expected: timedelta
) -> None:
    assert step(Span(NOW - length, NOW), points, timedelta(seconds=15)) == expected


def test_a_rate_looks_back_over_four_scrapes_at_least() -> None:
    scrape = timedelta(seconds=15)
    assert rate_interval(timedelta(seconds=15), scrape) == timedelta(minutes=1)
    assert rate_interval(timedelta(minutes=5), scrape) == timedelta(minutes=5, seconds=15)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (timedelta(seconds=75), "75s"),
        (timedelta(minutes=5), "5m"),
        (timedelta(hours=2), "2h"),
        (timedelta(days=1), "1d"),
    ],
)
def test_an_interval_is_written_as_prometheus_reads_it(interval: timedelta, text: str) -> None:
    assert written(interval) == text
