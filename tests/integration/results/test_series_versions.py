"""Every change of stored bars, other than new ones behind the newest, gives their series a version and a mark."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from streamworkers.database import Connection
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.results.series_versions import (
    VersionMark,
    clear_outdated,
    list_series_versions,
    read_version_marks,
)

DAY = TIMEFRAMES["day"]
END = date(2024, 6, 28)
KINDS = ("indicators", "patterns")


def _start(day: int) -> datetime:
    """The start of a day of June 2024, as results have it."""
    return datetime(2024, 6, day, 4, tzinfo=UTC)


@pytest.fixture
def days(connection: Connection) -> None:
    """Days of two symbols up to END, a Friday."""
    load_rows(connection, DAY, generate_bars(2, 60, 7, END))


def _state(connection: Connection, timeframe: Timeframe = DAY, symbol: str = "SYN001") -> VersionMark:
    return read_version_marks(connection, [symbol], timeframe.name, KINDS)[symbol]


def _changes(connection: Connection, timeframe: Timeframe = DAY, symbol: str = "SYN001") -> list[tuple[Any, ...]]:
    return [(row["version"], row["changed_from"]) for row in list_series_versions(connection, symbol, timeframe.name)]


@pytest.mark.usefixtures("days")
def test_new_bars_behind_the_newest_change_nothing(connection: Connection) -> None:
    assert _state(connection) == VersionMark(0, _start(28), None)
    connection.execute(
        "INSERT INTO ohlcv_daily SELECT symbol, date + 3, open, high, low, close, volume FROM ohlcv_daily"
        " WHERE date = %s",
        (END,),
    )
    assert _state(connection) == VersionMark(0, datetime(2024, 7, 1, 4, tzinfo=UTC), None)
    assert _changes(connection) == []


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize(
    ("statement", "first"),
    [
        ("UPDATE ohlcv_daily SET close = close * 1.001 WHERE symbol = 'SYN001' AND date >= '2024-06-20'", 20),
        ("DELETE FROM ohlcv_daily WHERE symbol = 'SYN001' AND date IN ('2024-06-12', '2024-06-14')", 12),
        ("INSERT INTO ohlcv_daily VALUES ('SYN001', '2024-06-15', 1, 2, 1, 2, 100)", 15),
        ("UPDATE ohlcv_daily SET date = '2024-06-15' WHERE symbol = 'SYN001' AND date = '2024-06-18'", 15),
    ],
)
def test_a_change_marks_the_bars_from_the_first_changed_one_on(
    connection: Connection, statement: str, first: int
) -> None:
    connection.execute(statement.encode())
    assert _state(connection) == VersionMark(1, _start(28), _start(first))
    assert _changes(connection) == [(1, _start(first))]
    assert _state(connection, symbol="SYN002") == VersionMark(0, _start(28), None)


@pytest.mark.usefixtures("days")
def test_the_mark_is_that_of_the_earliest_change_and_goes_with_its_version_only(connection: Connection) -> None:
    for day in (20, 12, 25):
        connection.execute(
            "UPDATE ohlcv_daily SET volume = volume + 1 WHERE symbol = 'SYN001' AND date = %s", (date(2024, 6, day),)
        )
    assert _state(connection) == VersionMark(3, _start(28), _start(12))
    assert _changes(connection) == [(3, _start(25)), (2, _start(12)), (1, _start(20))]
    clear_outdated(connection, "day", {"SYN001": 2}, KINDS)
    assert _state(connection).outdated_from == _start(12)
    clear_outdated(connection, "day", {"SYN001": 3}, ["indicators"])
    assert _state(connection).outdated_from == _start(12)
    assert read_version_marks(connection, ["SYN001"], "day", ["indicators"])["SYN001"].outdated_from is None
    clear_outdated(connection, "day", {"SYN001": 3}, ["patterns"])
    assert _state(connection) == VersionMark(3, _start(28), None)


@pytest.mark.usefixtures("days")
def test_a_load_of_the_same_bars_changes_nothing_and_of_others_one_version(connection: Connection) -> None:
    load_rows(connection, DAY, generate_bars(2, 60, 7, END))
    assert _changes(connection) == []
    load_rows(connection, DAY, generate_bars(2, 60, 8, END))
    assert [version for version, _ in _changes(connection)] == [1]


@pytest.mark.usefixtures("days")
def test_a_version_names_the_source_of_its_bars(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO series_sources (symbol, timeframe, provider, adjusted, hours, hour_anchor, adjusted_on,"
        " last_split, fetched_at, run_id) VALUES ('SYN001', 'day', 'massive', true, 'regular', 'clock',"
        " '2024-06-28', '2024-06-27', now(), 1)"
    )
    connection.execute("DELETE FROM ohlcv_daily WHERE symbol = 'SYN001'")
    assert _state(connection).newest is None
    load_rows(connection, DAY, generate_bars(1, 60, 9, END))
    (row,) = list_series_versions(connection, "SYN001", "day")
    assert (row["provider"], row["adjusted"], row["adjusted_on"], row["last_split"]) == (
        *("massive", True, date(2024, 6, 28), date(2024, 6, 27)),
    )
    assert _state(connection).newest == _start(28)


@pytest.mark.parametrize("name", ["1min", "hour", "week", "month"])
def test_every_timeframe_has_its_versions(connection: Connection, name: str) -> None:
    frame = TIMEFRAMES[name]
    starts: list[Any] = [date(2024, 4, 1), date(2024, 6, 3), date(2024, 7, 1)]
    if frame.intraday:
        starts = [datetime(2024, 6, 3, 14, minute, tzinfo=UTC) for minute in (0, 1, 2)]
    if name == "1min":
        connection.execute("SELECT ensure_ohlcv_1min_partition('2024-06-03 00:00+00')")
    insert = f"INSERT INTO {frame.table} (symbol, {frame.time_column}, open, high, low, close, volume)".encode()
    for start in starts:
        connection.execute(insert + b" VALUES ('X', %s, 1, 1, 1, 1, 1)", (start,))
    moments = [
        start if frame.intraday else datetime(start.year, start.month, start.day, 4, tzinfo=UTC) for start in starts
    ]
    assert _state(connection, frame, "X") == VersionMark(0, moments[2], None)
    connection.execute(f"UPDATE {frame.table} SET close = 2 WHERE {frame.time_column} = %s".encode(), (starts[1],))
    assert _state(connection, frame, "X") == VersionMark(1, moments[2], moments[1])
    connection.execute(f"DELETE FROM {frame.table} WHERE {frame.time_column} = %s".encode(), (starts[2],))
    assert _state(connection, frame, "X") == VersionMark(2, moments[1], moments[1])
