"""Bars are read as arrays up to a moment, newest times by symbol, and exact rows for showing."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import psycopg
import pytest

from streamworkers.errors import BadInputError
from streamworkers.market.bars.read import (
    read_last_times,
    read_newest_of_all,
    read_newest_time,
    read_recent,
    read_series,
)
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES

DAY, HOUR, MINUTE = TIMEFRAMES["day"], TIMEFRAMES["hour"], TIMEFRAMES["1min"]
JAN = date(2024, 1, 31)

Connection = psycopg.Connection


def bars_of(symbol: str, times: list[str]) -> BarRows:
    prices = [f"{10 + index}.25" for index in range(len(times))]
    volumes = [str(100 * index) for index in range(len(times))]
    return BarRows(list(range(len(times))), [symbol] * len(times), times, prices, prices, prices, prices, volumes)


@pytest.fixture
def stored(connection: Connection) -> Connection:
    days = [f"2024-01-{day:02d}" for day in (2, 3, 4, 5)]
    load_rows(connection, DAY, [bars_of("NA", days), bars_of("B", days[:1])])
    return connection


def test_series_end_at_the_as_of_and_start_with_the_oldest_of_the_newest(stored: Connection) -> None:
    series = read_series(stored, ["NA", "B", "GONE", "NA"], DAY, date(2024, 1, 4), 2)
    assert sorted(series) == ["B", "NA"]
    assert series["NA"].times.tolist() == [date(2024, 1, 3), date(2024, 1, 4)]
    assert series["NA"].close.tolist() == [11.25, 12.25]
    assert series["NA"].volume.tolist() == [100.0, 200.0]
    assert series["B"].open.tolist() == [10.25]
    series["NA"].require_valid("NA")


def test_arrays_are_contiguous_native_floats_that_one_may_write_to(stored: Connection) -> None:
    series = read_series(stored, ["NA"], DAY, JAN, 10)["NA"]
    assert series.times.dtype == np.dtype("datetime64[D]")
    for name in ("open", "high", "low", "close", "volume"):
        values = getattr(series, name)
        assert values.dtype == np.dtype(np.float64)
        assert values.dtype.isnative
        assert values.flags.c_contiguous
        assert values.flags.writeable


def test_a_symbol_whose_bars_are_all_later_is_absent(stored: Connection) -> None:
    assert read_series(stored, ["NA"], DAY, date(2024, 1, 1), 10) == {}


@pytest.mark.parametrize("timeframe", [HOUR, MINUTE])
def test_intraday_series_are_in_utc_whatever_the_zone_of_the_connection(connection: Connection, timeframe) -> None:  # type: ignore[no-untyped-def]
    connection.execute("SET timezone TO 'Asia/Tokyo'")
    load_rows(connection, timeframe, [bars_of("A", ["2024-01-02T14:30:00+00:00", "2024-01-02T15:30:00+00:00"])])
    moment = datetime(2024, 1, 2, 15, 0, tzinfo=UTC)
    series = read_series(connection, ["A"], timeframe, moment, 10)["A"]
    assert series.times.dtype == np.dtype("datetime64[ms]")
    assert series.times.tolist() == [datetime(2024, 1, 2, 14, 30)]  # noqa: DTZ001
    last = read_last_times(connection, ["A"], timeframe, moment)["A"]
    assert last == datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    assert isinstance(last, datetime)
    assert last.tzinfo is UTC
    assert [bar.time for bar in read_recent(connection, "A", timeframe, 1)] == [
        datetime(2024, 1, 2, 15, 30, tzinfo=UTC)
    ]


def test_last_times_are_by_symbol_and_the_newest_is_over_all(stored: Connection) -> None:
    assert read_last_times(stored, ["NA", "B", "GONE"], DAY, date(2024, 1, 4)) == {
        "NA": date(2024, 1, 4),
        "B": date(2024, 1, 2),
    }
    assert read_newest_time(stored, ["NA", "B"], DAY, date(2024, 1, 3)) == date(2024, 1, 3)
    assert read_newest_time(stored, ["GONE"], DAY, JAN) is None


def test_a_bar_of_the_future_is_not_the_newest_of_all(stored: Connection) -> None:
    now = datetime(2024, 1, 6, 3, tzinfo=UTC)
    load_rows(stored, DAY, [bars_of("FUTURE", ["2024-01-07", "2099-01-01"])])
    load_rows(stored, HOUR, [bars_of("FUTURE", ["2024-01-06T02:00:00+00:00", "2024-01-06T03:00:01+00:00"])])
    assert read_newest_of_all(stored, DAY, now) == date(2024, 1, 5)
    # The day of this bar has begun, though not in New York.
    load_rows(stored, DAY, [bars_of("7203.T", ["2024-01-06"])])
    assert read_newest_of_all(stored, DAY, now) == date(2024, 1, 6)
    assert read_newest_of_all(stored, HOUR, now) == now - timedelta(hours=1)
    assert read_newest_of_all(stored, DAY, datetime(2000, 1, 1, tzinfo=UTC)) is None


def test_recent_bars_have_exact_prices_oldest_first(stored: Connection) -> None:
    bars = read_recent(stored, "NA", DAY, 2)
    assert [(bar.time, bar.close, bar.volume) for bar in bars] == [
        (date(2024, 1, 4), Decimal("12.25"), 200),
        (date(2024, 1, 5), Decimal("13.25"), 300),
    ]
    assert read_recent(stored, "GONE", DAY, 2) == []


def test_an_as_of_of_the_wrong_kind_is_rejected(connection: Connection) -> None:
    with pytest.raises(BadInputError, match=r"is not an as-of for timeframe hour; give a datetime with a zone"):
        read_series(connection, ["A"], HOUR, JAN, 5)
    with pytest.raises(BadInputError, match=r"is not an as-of for timeframe day; give a date"):
        read_series(connection, ["A"], DAY, datetime(2024, 1, 1, tzinfo=UTC), 5)
    with pytest.raises(BadInputError, match=r"^max_bars is 0; it must be at least 1$"):
        read_series(connection, ["A"], DAY, JAN, 0)
    with pytest.raises(BadInputError, match=r"^limit is 0; it must be at least 1$"):
        read_recent(connection, "A", DAY, 0)
