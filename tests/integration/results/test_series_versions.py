"""Every write of bars, other than new ones behind the newest, gives its series a version and a mark."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from streamworkers.database import Connection
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.changes import ChangeRecorder
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import Series, announce_bars, delete_bars, load_rows, lock_bars, store_series
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.results.series_versions import VersionMark, clear_outdated, read_version_marks

DAY = TIMEFRAMES["day"]
END = date(2024, 6, 28)
KINDS = ("indicators", "patterns")


def _start(day: int) -> datetime:
    """The start of a day of June 2024, as results have it."""
    return datetime(2024, 6, day, 4, tzinfo=UTC)


def _rows(times: list[str], close: str = "1", symbol: str = "SYN001") -> BarRows:
    count = len(times)
    return BarRows(
        lines=list(range(1, count + 1)), symbols=[symbol] * count, times=times, open=[close] * count,
        high=[close] * count, low=[close] * count, close=[close] * count, volume=["1"] * count,
    )  # fmt: skip


@pytest.fixture
def days(connection: Connection) -> None:
    """Days of two symbols up to END, a Friday."""
    load_rows(connection, DAY, generate_bars(2, 60, 7, END))


def _state(connection: Connection, timeframe: Timeframe = DAY, symbol: str = "SYN001") -> VersionMark:
    return read_version_marks(connection, [symbol], timeframe.name, KINDS)[symbol]


def _versions(connection: Connection, timeframe: Timeframe = DAY, symbol: str = "SYN001") -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT version, changed_from FROM series_versions WHERE symbol = %s AND timeframe = %s ORDER BY version",
        (symbol, timeframe.name),
    ).fetchall()


@pytest.mark.usefixtures("days")
def test_new_bars_behind_the_newest_change_nothing(connection: Connection) -> None:
    load_rows(connection, DAY, [_rows(["2024-07-01"])])
    store_series(connection, DAY, [Series("SYN001", date(2024, 7, 2), date(2024, 7, 2), [_rows(["2024-07-02"])])])
    load_rows(connection, DAY, generate_bars(2, 60, 7, END))  # the same again
    assert _state(connection) == VersionMark(0, None)
    assert _versions(connection) == []


def _correct(connection: Connection) -> None:
    load_rows(connection, DAY, [_rows(["2024-06-20", "2024-06-24", "2024-07-01"])])


def _fill(connection: Connection) -> None:
    load_rows(connection, DAY, [_rows(["2024-06-15"])])


def _copy(connection: Connection) -> None:
    store_series(connection, DAY, [Series("SYN001", date(2024, 6, 15), date(2024, 6, 15), [_rows(["2024-06-15"])])])


def _copy_over(connection: Connection) -> None:
    rows = _rows(["2024-06-18", "2024-07-01"])
    store_series(connection, DAY, [Series("SYN001", date(2024, 6, 18), date(2024, 7, 1), [rows])])


def _delete(connection: Connection) -> None:
    with connection.transaction():
        lock_bars(connection, DAY)
        changes = ChangeRecorder(connection, DAY)
        changes.begin(["SYN001"])
        assert delete_bars(changes, "SYN001", date(2024, 6, 12), date(2024, 6, 14)) == 3
        changes.finish()


def _delete_the_newest(connection: Connection) -> None:
    with connection.transaction():
        lock_bars(connection, DAY)
        changes = ChangeRecorder(connection, DAY)
        changes.begin(["SYN001"])
        assert delete_bars(changes, "SYN001", date(2024, 6, 27), date(2024, 7, 14)) == 2
        changes.finish()


def _announce(connection: Connection) -> None:
    announce_bars(connection, DAY, ["SYN001"], date(2024, 6, 13))


@pytest.mark.usefixtures("days")
@pytest.mark.parametrize(
    ("write", "first"),
    [
        (_correct, 20),
        (_fill, 15),
        (_copy, 15),
        (_copy_over, 18),
        (_delete, 12),
        (_delete_the_newest, 27),
        (_announce, 13),
    ],
)
def test_every_writer_marks_the_bars_from_the_first_changed_one_on(
    connection: Connection, write: Callable[[Connection], None], first: int
) -> None:
    write(connection)
    assert _state(connection) == VersionMark(1, _start(first))
    assert _versions(connection) == [(1, _start(first))]
    assert _state(connection, symbol="SYN002") == VersionMark(0, None)


def test_an_open_bar_that_is_replaced_gives_a_version(connection: Connection) -> None:
    wednesday = datetime(2024, 6, 26, 12, tzinfo=EXCHANGE_ZONE)
    for moment, close in ((wednesday, "10"), (wednesday + timedelta(hours=5), "11")):
        recorder = ChangeRecorder(connection, DAY, moment)
        with connection.transaction():
            load_rows(connection, DAY, [_rows(["2024-06-26"], close)], recorder=recorder)
            recorder.finish()
    assert connection.execute("SELECT kind FROM series_changes").fetchall() == [("append",)]
    assert _state(connection) == VersionMark(1, _start(26))


@pytest.mark.usefixtures("days")
def test_the_mark_is_that_of_the_earliest_change_and_goes_with_its_version_only(connection: Connection) -> None:
    for day in (20, 12, 25):
        load_rows(connection, DAY, [_rows([f"2024-06-{day}"])])
    assert _state(connection) == VersionMark(3, _start(12))
    assert _versions(connection) == [(1, _start(20)), (2, _start(12)), (3, _start(25))]
    clear_outdated(connection, "day", {"SYN001": 2}, KINDS)
    assert _state(connection).outdated_from == _start(12)
    clear_outdated(connection, "day", {"SYN001": 3}, ["indicators"])
    assert _state(connection).outdated_from == _start(12)
    assert read_version_marks(connection, ["SYN001"], "day", ["indicators"])["SYN001"].outdated_from is None
    clear_outdated(connection, "day", {"SYN001": 3}, ["patterns"])
    assert _state(connection) == VersionMark(3, None)


@pytest.mark.usefixtures("days")
def test_a_version_names_the_source_of_its_bars(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO series_sources (symbol, timeframe, provider, adjusted, hours, hour_anchor, adjusted_on,"
        " last_split, fetched_at, run_id) VALUES ('SYN001', 'day', 'massive', true, 'regular', 'clock',"
        " '2024-06-28', '2024-06-27', now(), 1)"
    )
    load_rows(connection, DAY, generate_bars(1, 60, 9, END))
    found = connection.execute("SELECT version, provider, adjusted, adjusted_on, last_split FROM series_versions")
    assert found.fetchall() == [(1, "massive", True, date(2024, 6, 28), date(2024, 6, 27))]


@pytest.mark.parametrize("name", ["1min", "hour", "week", "month"])
def test_every_timeframe_has_its_versions(connection: Connection, name: str) -> None:
    frame = TIMEFRAMES[name]
    times = ["2024-04-01", "2024-06-03", "2024-07-01"]
    moments = [datetime.fromisoformat(f"{day}T04:00:00+00:00") for day in times]
    if frame.intraday:
        times = [f"2024-06-03T14:0{minute}:00+00:00" for minute in range(3)]
        moments = [datetime.fromisoformat(time) for time in times]
    load_rows(connection, frame, [_rows(times)])
    assert _state(connection, frame) == VersionMark(0, None)
    load_rows(connection, frame, [_rows(times[1:2], "2")])
    assert _state(connection, frame) == VersionMark(1, moments[1])
    assert _versions(connection, frame) == [(1, moments[1])]
