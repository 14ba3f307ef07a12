"""The results of one symbol, and the times of bars, without a database."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.errors import BadInputError
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.results.bar_times import to_moment, to_series_time, to_table_time
from streamworkers.results.symbol_results import compute_symbol

DAY, HOUR = TIMEFRAMES["day"], TIMEFRAMES["hour"]
RETURNS, SMA = IndicatorDefinition("returns_1", "returns"), IndicatorDefinition("sma_20", "SMA", {"timeperiod": 20})
GAP, CROSS = PatternDefinition("gap_up", "gap_up"), PatternDefinition("golden_cross", "golden_cross")


def _series(*closes: float) -> Bars:
    """Daily bars from 2024-07-01 on that open and close at the same price."""
    prices = np.array(closes, np.float64)
    times = np.datetime64("2024-07-01", "D") + np.arange(len(closes)) * np.timedelta64(1, "D")
    return Bars(times, prices, prices + 0.5, prices - 0.5, prices, np.full(len(closes), 1000.0))


def test_results_have_the_time_of_their_bar_and_name_missing_definitions() -> None:
    found = compute_symbol("A", _series(10, 10, 20), DAY, [RETURNS, SMA], [GAP, CROSS], 2)
    assert [(row.indicator, row.bar_time, row.value, row.bars_used) for row in found.indicators] == [
        ("returns_1", datetime(2024, 7, 2, 4, tzinfo=UTC), 0.0, 2),
        ("returns_1", datetime(2024, 7, 3, 4, tzinfo=UTC), 1.0, 3),
    ]
    assert [(row.symbol, row.bar_time, row.detection.pattern_name) for row in found.patterns] == [
        ("A", datetime(2024, 7, 3, 4, tzinfo=UTC), "gap_up")
    ]
    assert (found.scan.first_bar, found.scan.last_bar) == (
        datetime(2024, 7, 2, 4, tzinfo=UTC),
        datetime(2024, 7, 3, 4, tzinfo=UTC),
    )
    assert (found.evaluated, found.missing, found.bars_used) == (
        ("gap_up", "golden_cross"),
        ["sma_20", "golden_cross"],
        3,
    )


def test_a_scan_covers_the_whole_series_if_it_is_shorter_than_the_last_bars() -> None:
    found = compute_symbol("A", _series(10, 11), DAY, [], [GAP], 5)
    assert found.scan.first_bar == datetime(2024, 7, 1, 4, tzinfo=UTC)


def test_a_series_with_a_value_that_is_not_finite_is_rejected() -> None:
    with pytest.raises(BadInputError, match="is nan, not a finite number"):
        compute_symbol("A", _series(10, float("nan")), DAY, [RETURNS], [], 1)


def test_daily_times_are_dates_in_new_york() -> None:
    moment = datetime(2024, 1, 3, 5, tzinfo=UTC)
    assert to_table_time(DAY, moment) == date(2024, 1, 3)
    assert to_table_time(DAY, datetime(2024, 1, 3, 4, tzinfo=UTC)) == date(2024, 1, 2)
    assert to_series_time(date(2024, 1, 3)) == np.datetime64("2024-01-03", "D")
    assert to_moment(DAY, to_series_time(date(2024, 1, 3))) == moment


def test_intraday_times_are_moments_in_utc() -> None:
    moment = datetime(2024, 1, 3, 14, 30, tzinfo=UTC)
    assert to_table_time(HOUR, moment) == moment
    assert to_series_time(moment) == np.datetime64("2024-01-03T14:30", "ms")
    assert to_moment(HOUR, to_series_time(moment)) == moment
