"""Wider bars of the fake market: of minutes by the clock, of days by the calendar."""

from datetime import date

import numpy as np

from streamworkers_fakes.massive.bars import FakeBars, Ints, first_of_each
from streamworkers_fakes.massive.trading_days import (
    DAY_MINUTES,
    MINUTE_MS,
    midnight_ms,
    week_start,
)


def wider(minutes: FakeBars, midnight: int, width: int) -> FakeBars:
    """The minutes of one day put together into bars of `width` minutes, counted from midnight (Unix ms)."""
    windows = (minutes.start_ms - midnight) // MINUTE_MS // width
    firsts = first_of_each(windows)
    return minutes.merged(firsts, midnight + windows[firsts] * width * MINUTE_MS)


def by_calendar(days: FakeBars, timespan: str) -> FakeBars:
    """Daily bars put together into those of `week` or `month`; `day` returns them unchanged."""
    if timespan == "day":
        return days
    keys = window_ordinals(days, timespan)
    firsts = first_of_each(keys)
    starts = [midnight_ms(date.fromordinal(int(key))) for key in keys[firsts]]
    return days.merged(firsts, np.array(starts, np.int64))


def window_ordinals(days: FakeBars, timespan: str) -> Ints:
    """The ordinal of the first day of the `day`, `week` or `month` that each daily bar is in."""
    # Midnight in New York is in the morning of the same date in UTC.
    since_1970 = days.start_ms // (DAY_MINUTES * MINUTE_MS)
    ordinals = since_1970 + date(1970, 1, 1).toordinal()
    if timespan == "day":
        return ordinals
    if timespan == "week":
        return ordinals - ordinals % 7
    months = since_1970.astype("datetime64[D]").astype("datetime64[M]")
    return months.astype("datetime64[D]").astype(np.int64) + date(1970, 1, 1).toordinal()


def window_day(day: date, timespan: str) -> date:
    """The first day of the `day`, `week` or `month` that a day is in."""
    if timespan == "day":
        return day
    return week_start(day) if timespan == "week" else day.replace(day=1)
