"""The windows of each timeframe: how many there are, where they begin, when they have ended, in New York's days."""

import time
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.market.bars.bars import Starts
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.market.calendar.windows import (
    HourAnchor,
    Hours,
    day_of,
    days_since_epoch,
    narrower,
    whole_windows,
    windows_between,
)

MINUTE, HOUR, DAY, WEEK, MONTH = TIMEFRAMES.values()
FULL, HALF = date(2025, 11, 26), date(2025, 11, 28)  # around Thanksgiving
DAYS = st.dates(date(2023, 1, 1), date(2026, 12, 31))


def ms(day: date, hour: int, minute: int = 0) -> int:
    moment = datetime(day.year, day.month, day.day, hour, minute, tzinfo=EXCHANGE_ZONE)
    return round(moment.timestamp() * 1000)


def clocks(starts: Starts) -> list[str]:
    return [f"{datetime.fromtimestamp(start / 1000, EXCHANGE_ZONE):%H:%M}" for start in starts.tolist()]


@pytest.mark.parametrize(("day", "count"), [(FULL, 390), (HALF, 210), (date(2025, 11, 27), 0), (date(2025, 11, 29), 0)])
def test_a_full_session_has_390_minutes_and_a_half_one_210(day: date, count: int) -> None:
    starts = windows_between(day, day).expected(MINUTE, day, day)
    assert len(starts) == count
    if count:
        assert clocks(starts[[0, -1]]) == ["09:30", "15:59" if count == 390 else "12:59"]
        assert (np.diff(starts) == 60_000).all()


@pytest.mark.parametrize(
    ("day", "anchor", "expected"),
    [
        (FULL, "clock", ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]),
        (FULL, "open", ["09:30", "10:30", "11:30", "12:30", "13:30", "14:30", "15:30"]),
        (HALF, "clock", ["09:00", "10:00", "11:00", "12:00"]),
        (HALF, "open", ["09:30", "10:30", "11:30", "12:30"]),
    ],
)
def test_a_session_has_the_hours_of_the_clock_or_those_from_its_opening(
    day: date, anchor: HourAnchor, expected: list[str]
) -> None:
    starts = windows_between(day, day, hour_anchor=anchor).expected(HOUR, day, day)
    assert clocks(starts) == expected


@pytest.mark.parametrize("monday", [date(2025, 3, 10), date(2025, 11, 3)])
@pytest.mark.parametrize(("anchor", "opening"), [("clock", "09:00"), ("open", "09:30")])
def test_sessions_keep_their_clock_where_the_clocks_are_changed(monday: date, anchor: HourAnchor, opening: str) -> None:
    first, last = monday - timedelta(days=7), monday + timedelta(days=4)
    windows = windows_between(first, last, hour_anchor=anchor)
    hours = windows.expected(HOUR, first, last)
    assert clocks(hours)[::7] == [opening] * 10
    assert len(windows.expected(MINUTE, first, last)) == 10 * 390
    utc = {datetime.fromtimestamp(start / 1000, UTC).hour for start in hours[::7].tolist()}
    assert utc == {13, 14}


def test_windows_are_those_of_new_york_whatever_the_zone_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = windows_between(FULL, HALF, hour_anchor="open").expected(HOUR, FULL, HALF)
    try:
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        windows = windows_between(FULL, HALF, hour_anchor="open")
        assert windows.expected(HOUR, FULL, HALF).tolist() == before.tolist()
        assert windows.window_of(HOUR, before + 59_000).tolist() == before.tolist()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_week_bears_its_monday_also_when_that_is_a_holiday() -> None:
    labor_day = date(2025, 9, 1)
    windows = windows_between(labor_day, labor_day)
    assert labor_day not in windows.sessions
    assert [day_of(day) for day in windows.expected(WEEK, labor_day, labor_day).tolist()] == [labor_day]
    assert [day_of(day) for day in windows.expected(WEEK, date(2025, 9, 5), date(2025, 9, 8)).tolist()] == [
        labor_day,
        date(2025, 9, 8),
    ]
    assert [day_of(day) for day in windows.expected(DAY, labor_day, date(2025, 9, 3)).tolist()] == [
        date(2025, 9, 2),
        date(2025, 9, 3),
    ]


def test_a_month_bears_its_first_and_is_expected_whole() -> None:
    windows = windows_between(date(2025, 8, 31), date(2025, 9, 1))
    starts = windows.expected(MONTH, date(2025, 8, 31), date(2025, 9, 1))
    assert [day_of(day) for day in starts.tolist()] == [date(2025, 8, 1), date(2025, 9, 1)]


@pytest.mark.parametrize(
    ("frame", "start", "ends"),
    [
        (DAY, FULL, ms(FULL, 16)),
        (DAY, HALF, ms(HALF, 13)),
        (DAY, date(2025, 3, 10), ms(date(2025, 3, 10), 16)),
        (WEEK, date(2025, 11, 24), ms(HALF, 13)),
        (WEEK, date(2025, 4, 14), ms(date(2025, 4, 17), 16)),  # Good Friday is no session
        (WEEK, date(2025, 9, 1), ms(date(2025, 9, 5), 16)),
        (MONTH, date(2025, 11, 1), ms(HALF, 13)),
        (MONTH, date(2025, 8, 1), ms(date(2025, 8, 29), 16)),
        (MONTH, date(2025, 12, 1), ms(date(2025, 12, 31), 16)),
    ],
)
def test_days_weeks_and_months_end_with_the_close_of_their_last_session(
    frame: Timeframe, start: date, ends: int
) -> None:
    windows = windows_between(start, start)
    assert windows.ends(frame, np.array([days_since_epoch(start)])).tolist() == [ends]


def test_a_day_without_a_session_ends_with_it() -> None:
    christmas = date(2025, 12, 25)
    windows = windows_between(christmas, christmas)
    midnight = round(datetime(2025, 12, 26, tzinfo=UTC).timestamp() * 1000)
    assert windows.ends(DAY, np.array([days_since_epoch(christmas)])).tolist() == [midnight]


@pytest.mark.parametrize(
    ("hours", "anchor", "start", "ends"),
    [
        ("regular", "clock", (9, 0), (10, 0)),
        ("regular", "clock", (12, 0), (13, 0)),
        ("regular", "open", (12, 30), (13, 0)),
        ("regular", "open", (11, 30), (12, 30)),
        ("extended", "clock", (12, 0), (13, 0)),
        ("extended", "open", (12, 30), (13, 30)),
        ("extended", "clock", (16, 0), (17, 0)),
    ],
)
def test_an_hour_ends_after_an_hour_or_with_the_regular_session(
    hours: Hours, anchor: HourAnchor, start: tuple[int, int], ends: tuple[int, int]
) -> None:
    windows = windows_between(HALF, HALF, hours, anchor)
    assert windows.ends(HOUR, np.array([ms(HALF, *start)])).tolist() == [ms(HALF, *ends)]
    assert windows.ends(MINUTE, np.array([ms(HALF, *start)])).tolist() == [ms(HALF, *start) + 60_000]


def test_minutes_outside_the_session_belong_to_extended_hours_only() -> None:
    starts = np.array([ms(HALF, 4), ms(HALF, 9, 29), ms(HALF, 9, 30), ms(HALF, 12, 59), ms(HALF, 13), ms(HALF, 16)])
    assert windows_between(HALF, HALF).belongs(MINUTE, starts).tolist() == [False, False, True, True, False, False]
    assert windows_between(HALF, HALF, "extended").belongs(MINUTE, starts).all()
    thanksgiving = np.array([ms(date(2025, 11, 27), 10)])
    assert not windows_between(HALF, HALF).belongs(MINUTE, thanksgiving).any()
    before_any = np.array([ms(date(2001, 1, 2), 10)])
    assert not windows_between(HALF, HALF).belongs(MINUTE, before_any).any()


def test_days_without_a_session_do_not_belong_and_hours_weeks_and_months_are_all_kept() -> None:
    windows = windows_between(FULL, HALF)
    days = np.array([days_since_epoch(day) for day in (FULL, date(2025, 11, 27), HALF, date(2025, 11, 29))])
    assert windows.belongs(DAY, days).tolist() == [True, False, True, False]
    assert windows.belongs(WEEK, days).all()
    assert windows.belongs(MONTH, days).all()
    assert windows.belongs(HOUR, np.array([ms(FULL, 4)])).all()


def test_a_range_beyond_what_the_calendar_knows_has_no_windows_and_breaks_nothing() -> None:
    day = date(2300, 1, 4)
    windows = windows_between(day, day, hour_anchor="open")
    assert [len(windows.expected(frame, day, day)) for frame in TIMEFRAMES.values()] == [0] * 5
    assert windows.belongs(MINUTE, np.array([0])).tolist() == [True]
    assert windows.ends(HOUR, np.array([0])).tolist() == [3_600_000]
    assert windows.ends(DAY, np.array([0])).tolist() == [86_400_000]
    assert windows.window_of(HOUR, np.array([3_600_001])).tolist() == [3_600_000]


@pytest.mark.parametrize(
    ("now", "settle", "minutes", "hours", "days", "weeks"),
    [
        ((10, 0), 0.0, 30, 1, 0, 0),
        ((10, 0), 60.0, 29, 0, 0, 0),
        ((12, 59), 0.0, 209, 3, 0, 0),
        ((13, 0), 0.0, 210, 4, 1, 1),
        ((13, 0), 1.0, 209, 3, 0, 0),
        ((13, 15), 900.0, 210, 4, 1, 1),
        ((13, 14), 900.0, 209, 3, 0, 0),
        ((9, 0), 0.0, 0, 0, 0, 0),
    ],
)
def test_a_bar_is_closed_once_its_window_ended_and_the_settle_time_is_over(
    now: tuple[int, int], settle: float, minutes: int, hours: int, days: int, weeks: int
) -> None:
    rules = LoadRules(datetime(2025, 11, 28, *now, tzinfo=EXCHANGE_ZONE), grace_seconds=settle)
    span = Span(HALF, HALF)
    assert [len(rules.expected(frame, span)) for frame in (MINUTE, HOUR, DAY, WEEK)] == [minutes, hours, days, weeks]
    open_too = LoadRules(rules.now, grace_seconds=settle, include_open=True)
    assert [len(open_too.expected(frame, span)) for frame in (MINUTE, HOUR, DAY, WEEK)] == [210, 4, 1, 1]


def test_today_is_the_date_in_new_york() -> None:
    assert LoadRules(datetime(2025, 11, 29, 4, 59, tzinfo=UTC)).today == HALF
    assert LoadRules(datetime(2025, 11, 29, 5, 0, tzinfo=UTC)).today == date(2025, 11, 29)


@pytest.mark.parametrize(
    ("frame", "first", "last", "whole"),
    [
        (MINUTE, FULL, HALF, (FULL, HALF)),
        (HOUR, FULL, HALF, (FULL, HALF)),
        (DAY, FULL, HALF, (FULL, HALF)),
        (WEEK, FULL, HALF, (date(2025, 11, 24), date(2025, 11, 30))),
        (WEEK, date(2025, 11, 24), date(2025, 11, 30), (date(2025, 11, 24), date(2025, 11, 30))),
        (MONTH, FULL, HALF, (date(2025, 11, 1), date(2025, 11, 30))),
        (MONTH, date(2025, 1, 31), date(2025, 2, 1), (date(2025, 1, 1), date(2025, 2, 28))),
        (MONTH, date(2024, 2, 29), date(2024, 12, 31), (date(2024, 2, 1), date(2024, 12, 31))),
    ],
)
def test_a_range_is_widened_to_whole_weeks_and_months(
    frame: Timeframe, first: date, last: date, whole: tuple[date, date]
) -> None:
    assert whole_windows(frame, first, last) == whole


def test_hours_are_made_of_minutes_and_weeks_and_months_of_days() -> None:
    assert [narrower(frame) for frame in TIMEFRAMES.values()] == [None, MINUTE, None, DAY, DAY]


@given(DAYS)
def test_dates_become_numbers_and_dates_again(day: date) -> None:
    assert day_of(days_since_epoch(day)) == day


@given(DAYS, st.integers(0, 20), st.sampled_from([(HOUR, MINUTE), (WEEK, DAY), (MONTH, DAY)]), st.booleans())
def test_every_narrow_window_is_within_the_wide_one_it_is_part_of(
    first: date, days: int, frames: tuple[Timeframe, Timeframe], opening: bool
) -> None:
    wide, narrow = frames
    last = first + timedelta(days=days)
    windows = windows_between(first, last, hour_anchor="open" if opening else "clock")
    starts = windows.expected(narrow, first, last)
    begins = windows.window_of(wide, starts)
    assert (begins <= starts).all()
    assert (np.diff(begins) >= 0).all()
    assert np.array_equal(windows.window_of(wide, begins), begins)
    assert (windows.ends(wide, begins) >= windows.ends(narrow, starts)).all()
    assert set(begins.tolist()) <= set(windows.expected(wide, first, last).tolist())
