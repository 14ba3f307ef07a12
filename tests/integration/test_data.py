"""`streamworkers.data`: stored bars and results as data frames with types, ranges, and the moment they are of."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from streamworkers.data import read_bars, read_patterns, read_results
from streamworkers.database import Connection
from streamworkers.errors import BadInputError
from streamworkers.symbols import SYMBOL_RULE


@pytest.fixture
def url(connection: Connection, database_url: str) -> str:
    connection.execute(
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume) VALUES"
        " ('ABC', '2024-03-04', 10.5, 12, 9, 11, 500), ('ABC', '2024-03-05', 11, 12, 9, 11, NULL),"
        " ('XYZ', '2024-03-05', 1, 1, 1, 1, 0)"
    )
    connection.execute(
        "INSERT INTO ohlcv_hourly (symbol, timestamp, open, high, low, close, volume) VALUES"
        " ('ABC', '2024-03-04 20:00Z', 1, 1, 1, 1, 5), ('ABC', '2024-03-05 05:00Z', 2, 2, 2, 2, 6)"
    )
    connection.execute(
        "INSERT INTO indicator_results (symbol, timeframe, indicator, bar_time, value, value_data, bars_used, run_id)"
        " VALUES ('ABC', 'day', 'rsi_14', '2024-03-04 05:00Z', 51.5, NULL, 500, 7),"
        " ('ABC', 'day', 'macd', '2024-03-05 05:00Z', 0.25, '{\"macd\": 0.25}', 500, 7)"
    )
    connection.execute(
        "INSERT INTO daily_patterns (symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, run_id)"
        " VALUES ('ABC', 'day', 'hammer', '2024-03-05 05:00Z', 'bullish', 100, 0.75, 7)"
    )
    return database_url


def test_bars_of_days_have_dates_types_and_the_moment_they_are_of(url: str) -> None:
    table = read_bars(["XYZ", "ABC", "NONE"], "day", url=url)
    assert table.index.names == ["symbol", "time"]
    assert list(table.index) == [
        ("XYZ", pd.Timestamp("2024-03-05")),
        ("ABC", pd.Timestamp("2024-03-04")),
        ("ABC", pd.Timestamp("2024-03-05")),
    ]
    assert {str(kind) for kind in table.dtypes} == {"float64"}
    assert table.loc["ABC"].close.tolist() == [11.0, 11.0]
    assert np.isnan(table.loc["ABC"].volume.iloc[1])
    assert table.attrs["timeframe"] == "day"
    assert isinstance(table.attrs["as_of"], datetime)
    assert table.attrs["as_of"].tzinfo is UTC


def test_ranges_are_days_or_moments_both_ends_included(url: str) -> None:
    assert len(read_bars("ABC", "day", "2024-03-05", "2024-03-05", url=url)) == 1
    assert len(read_bars("ABC", "day", date(2024, 3, 5), url=url)) == 1
    hours = read_bars("ABC", "hour", "2024-03-04", "2024-03-04", url=url)
    assert hours.loc["ABC"].index.tolist() == [pd.Timestamp("2024-03-04 20:00", tz="UTC")]
    exact = datetime(2024, 3, 5, 5, tzinfo=UTC)
    assert len(read_bars("ABC", "hour", exact, exact, url=url)) == 1
    assert len(read_bars("ABC", "hour", "2024-03-05T05:00:01Z", url=url)) == 0


def test_no_bars_are_an_empty_table_of_the_same_shape(url: str) -> None:
    for timeframe in ("day", "hour"):
        table = read_bars(["NONE"], timeframe, url=url)
        assert (len(table), list(table.columns)) == (0, ["open", "high", "low", "close", "volume"])
        assert table.index.names == ["symbol", "time"]


def test_results_and_patterns_are_rows(url: str) -> None:
    values = read_results("ABC", url=url)
    assert list(values[["indicator", "value"]].itertuples(index=False, name=None)) == [("macd", 0.25), ("rsi_14", 51.5)]
    assert values.outputs[0] == {"macd": 0.25}
    assert values.time[0] == pd.Timestamp("2024-03-05 05:00", tz="UTC")
    assert read_results("ABC", indicators=["rsi_14"], url=url).bars_used.tolist() == [500]
    assert len(read_results("ABC", "day", "2024-03-05", url=url)) == 1
    patterns = read_patterns(["ABC"], url=url)
    assert patterns[["pattern", "direction", "confidence"]].to_dict("records") == [
        {"pattern": "hammer", "direction": "bullish", "confidence": 0.75}
    ]
    assert "as_of" in patterns.attrs
    assert len(read_patterns("ABC", patterns=["doji"], url=url)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("A B",), f"the symbol 'A B' is not {SYMBOL_RULE}"),
        (("A", "2day"), "timeframe '2day' is not one of"),
        (("A", "day", "soon"), "start 'soon' is not a date YYYY-MM-DD or a time in ISO 8601"),
        (("A", "hour", None, "2024-03-04T10:00"), "end 2024-03-04T10:00:00 has no zone; give a date, or a moment"),
        (("A", "day", "2024-03-04T10:00:00Z"), "start 2024-03-04T10:00:00+00:00 is a moment; bars of a day are read"),
    ],
)
def test_what_cannot_be_read_is_named(url: str, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        read_bars(*arguments, url=url)
    assert str(raised.value).startswith(message)
