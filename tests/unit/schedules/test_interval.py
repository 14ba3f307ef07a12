"""Intervals: what they accept, and ticks that neither the start nor the clocks move."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.sessions import sessions_around
from streamworkers.schedules.interval import Interval

NEW_YORK, UTC_ZONE = ZoneInfo("America/New_York"), ZoneInfo("UTC")
FORM = (
    "is not every and a time such as 90m, 1h30m, 45s or 2d, alone or with from and a date and time such as"
    " 2026-01-05 09:30"
)


def local(text: str, moment: datetime, count: int, zone: ZoneInfo = NEW_YORK) -> list[str]:
    """The first ticks after a moment, in the zone."""
    ticks = islice(Interval.parse(text).after(moment, zone), count)
    return [f"{tick.astimezone(zone):%m-%d %H:%M:%S}" for tick, _ in ticks]


@pytest.mark.parametrize(
    ("text", "start", "ticks"),
    [
        ("every 90m", "2026-01-05 00:00", ["01-05 01:30:00", "01-05 03:00:00", "01-05 04:30:00"]),
        ("every 1h30m", "2026-01-05 00:00", ["01-05 01:30:00", "01-05 03:00:00"]),
        ("every 45s", "2026-01-05 00:00", ["01-05 00:00:45", "01-05 00:01:30", "01-05 00:02:15"]),
        ("  every\t36h ", "2026-01-05 00:00", ["01-06 12:00:00", "01-08 00:00:00"]),
        ("every 7d", "2026-01-05 00:00", ["01-12 00:00:00", "01-19 00:00:00"]),
        ("every 90m from 2026-01-05 09:10", "2026-01-05 00:00", ["01-05 09:10:00", "01-05 10:40:00"]),
        ("every 90m from 2026-01-05T09:10:07", "2026-01-05 09:10:07", ["01-05 10:40:07", "01-05 12:10:07"]),
        ("every 90m from 2026-01-05T14:10Z", "2026-01-05 00:00", ["01-05 09:10:00", "01-05 10:40:00"]),
        ("every 90m from 2026-01-05T15:10+01:00", "2026-01-05 00:00", ["01-05 09:10:00", "01-05 10:40:00"]),
        ("every 2d from 2026-01-06", "2026-01-01 00:00", ["01-06 00:00:00", "01-08 00:00:00"]),
        ("every 366d from 2026-03-08 02:30", "2026-01-01 00:00", ["03-08 03:00:00", "03-09 02:00:00"]),
        # An interval follows elapsed time, so that the clocks change under it.
        ("every 12h", "2026-03-07 18:00", ["03-08 00:00:00", "03-08 13:00:00", "03-09 01:00:00"]),
        ("every 30m", "2026-11-01 00:30", ["11-01 01:00:00", "11-01 01:30:00", "11-01 01:00:00", "11-01 01:30:00"]),
    ],
)
def test_an_interval_ticks_from_its_anchor_on(text: str, start: str, ticks: list[str]) -> None:
    assert local(text, datetime.fromisoformat(start).replace(tzinfo=NEW_YORK), len(ticks)) == ticks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (text, f"{text!r} {FORM}")
            for text in (
                "every",
                "every 90",
                "every m",
                "every 1.5h",
                "every -5m",
                "every 90 m",
                "every 5w",
                "every90m",
                "EVERY 90m",
                "every 90m from",
                "every 90m until 2026-01-05",
                "every ٣m",
                "every 1234567890s",
            )
        ),
        *(
            (text, f"{text!r}: an interval is from 1s to 366d long")
            for text in ("every 0s", "every 0d0m", "every 367d", "every 366d1s", f"every {'9' * 9}d")
        ),
        *(
            (
                f"every 90m from {anchor}",
                f"an interval begins from {anchor!r}, which is no date and time such as 2026-01-05 09:30",
            )
            for anchor in ("09:30", "2026-02-30", "yesterday", "2026-01-05 25:00")
        ),
        *(
            (
                f"every 90m from {anchor}",
                f"an interval begins from {anchor!r}, which is not a whole second of the years 1970 to 2199",
            )
            for anchor in ("1969-12-31", "2200-01-01", "2026-01-05 09:30:00.5", "2026-01-05T09:30:00+00:00:01.500000")
        ),
    ],
)
def test_what_is_no_interval_is_rejected_with_the_rule(text: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        Interval.parse(text)
    assert str(raised.value) == message


@given(
    st.integers(1, 366 * 86_400).map(lambda seconds: f"every {seconds}s"),
    st.sampled_from(["", " from 2026-03-08 02:30", " from 2025-11-02 01:30", " from 2024-02-29T12:00Z"]),
    st.integers(0, 3 * 366 * 86_400),
    st.integers(1, 86_400_000_000),
)
def test_ticks_of_an_interval_do_not_depend_on_where_the_iteration_begins(
    step: str, anchor: str, seconds: int, microseconds: int
) -> None:
    interval = Interval.parse(step + anchor)
    moment = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    ticks = [tick for tick, _ in islice(interval.after(moment, NEW_YORK), 5)]
    assert all(later - earlier == interval.step for earlier, later in pairwise(ticks))
    assert moment < ticks[0]
    between = ticks[0] - timedelta(microseconds=microseconds)
    assert next(interval.after(max(moment, between), NEW_YORK))[0] == ticks[0]
    assert next(interval.after(ticks[0], NEW_YORK))[0] == ticks[1]


def test_without_an_anchor_all_intervals_of_a_zone_begin_at_one_midnight() -> None:
    for seconds, zone in ((7, NEW_YORK), (86_400, NEW_YORK), (5400, UTC_ZONE), (3601, ZoneInfo("Asia/Kolkata"))):
        before = datetime(2001, 1, 1, tzinfo=zone) - timedelta(seconds=1)
        first, _ = next(Interval.parse(f"every {seconds}s").after(before, zone))
        assert first == datetime(2001, 1, 1, tzinfo=zone)


def test_on_sessions_an_interval_passes_other_days_at_once() -> None:
    friday = datetime(2026, 7, 10, 23, 59, 58, tzinfo=NEW_YORK)
    ticks = list(islice(Interval.parse("every 1s").after(friday, NEW_YORK, sessions_around("XNYS", friday)), 3))
    monday = datetime(2026, 7, 13, tzinfo=NEW_YORK)
    assert ticks == [
        (friday + timedelta(seconds=1), date(2026, 7, 10)),
        (monday, date(2026, 7, 13)),
        (monday + timedelta(seconds=1), date(2026, 7, 13)),
    ]


def test_an_interval_ends_with_the_calendar() -> None:
    december = datetime(2026, 12, 30, tzinfo=UTC)
    sessions = sessions_around("XBOM", december)
    ticks = list(Interval.parse("every 1d").after(december, ZoneInfo("Asia/Kolkata"), sessions))
    assert [day for _, day in ticks] == [date(2026, 12, 31)]
