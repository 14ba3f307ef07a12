"""Every writer of bars records what it has changed, in its own transaction and in the order of commits."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest

from patience import patient
from streamworkers.database import Connection, connect
from streamworkers.market.bars.changes import ChangeRecorder, count_old_changes, delete_old_changes
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import Series, announce_bars, load_rows, store_series
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES
from streamworkers.market.files.bars_import import import_bars

DAY, WEEK, MINUTE = TIMEFRAMES["day"], TIMEFRAMES["week"], TIMEFRAMES["1min"]
DAYS = ["2025-11-17", "2025-11-18", "2025-11-19", "2025-11-20", "2025-11-21"]


def rows(days: list[str], close: str = "10", symbol: str = "AAA") -> BarRows:
    count = len(days)
    return BarRows(
        lines=list(range(1, count + 1)), symbols=[symbol] * count, times=days, open=[close] * count,
        high=[close] * count, low=[close] * count, close=[close] * count, volume=["1"] * count,
    )  # fmt: skip


def changes(connection: psycopg.Connection, timeframe: str = "day") -> list[tuple[Any, ...]]:
    """Kind, first and last day in New York, and factor, in order."""
    found = connection.execute(
        "SELECT symbol, kind, first_bar, last_bar, factor FROM series_changes WHERE timeframe = %s ORDER BY n",
        (timeframe,),
    )
    return [(symbol, kind, _day(first), _day(last), factor) for symbol, kind, first, last, factor in found]


def state(connection: psycopg.Connection, symbol: str = "AAA", timeframe: str = "day") -> str | None:
    row = connection.execute(
        "SELECT complete_through FROM series_state WHERE timeframe = %s AND symbol = %s", (timeframe, symbol)
    ).fetchone()
    assert row is not None
    return _day(row[0])


def _day(moment: datetime | None) -> str | None:
    return None if moment is None else str(moment.astimezone(EXCHANGE_ZONE).date())


def test_new_bars_are_appended_old_ones_corrected_and_the_same_are_nothing(connection: Connection) -> None:
    load_rows(connection, DAY, [rows(DAYS[:3])])
    load_rows(connection, DAY, [rows(DAYS[:3])])
    load_rows(connection, DAY, [rows([*DAYS[1:2], *DAYS[3:]], "11")])
    load_rows(connection, DAY, [rows(["2025-11-14"], "9")])  # a gap before them
    assert changes(connection) == [
        ("AAA", "append", "2025-11-17", "2025-11-19", None),
        ("AAA", "correct", "2025-11-18", "2025-11-18", None),
        ("AAA", "append", "2025-11-20", "2025-11-21", None),
        ("AAA", "correct", "2025-11-14", "2025-11-14", None),
    ]
    assert state(connection) == "2025-11-21"
    last = connection.execute("SELECT last_change = (SELECT max(n) FROM series_changes) FROM series_state").fetchone()
    assert last == (True,)


def test_bars_that_are_copied_directly_are_recorded_too(connection: Connection) -> None:
    def series(days: list[str]) -> Series:
        return Series("AAA", date.fromisoformat(days[0]), date.fromisoformat(days[-1]), [rows(days)])

    store_series(connection, DAY, [series(DAYS[2:])])
    store_series(connection, DAY, [series(DAYS[:2])])
    assert changes(connection) == [
        ("AAA", "append", "2025-11-19", "2025-11-21", None),
        ("AAA", "correct", "2025-11-17", "2025-11-18", None),
    ]


def test_a_series_from_before_begins_with_its_closed_bars(connection: Connection) -> None:
    load_rows(connection, DAY, [rows(DAYS[:4])])
    connection.execute("TRUNCATE series_changes, series_state")
    load_rows(connection, DAY, [rows(DAYS[3:], "12")])
    assert changes(connection) == [
        ("AAA", "correct", "2025-11-20", "2025-11-20", None),
        ("AAA", "append", "2025-11-21", "2025-11-21", None),
    ]


def test_an_open_bar_is_in_no_change_until_it_was_stored_after_its_end(connection: Connection) -> None:
    wednesday = datetime(2025, 11, 19, 12, tzinfo=EXCHANGE_ZONE)
    for moment, close in ((wednesday, "10"), (wednesday + timedelta(hours=1), "11"), (wednesday, "11")):
        recorder = ChangeRecorder(connection, DAY, moment)
        with connection.transaction():
            load_rows(connection, DAY, [rows(DAYS[:3], close)], recorder=recorder)
            recorder.finish()
    assert changes(connection) == [
        ("AAA", "append", "2025-11-17", "2025-11-18", None),
        ("AAA", "correct", "2025-11-17", "2025-11-18", None),
    ]
    assert state(connection) == "2025-11-18"
    # The same values, but stored after the close.
    load_rows(connection, DAY, [rows(DAYS[2:3], "11")])
    assert changes(connection)[2:] == [("AAA", "append", "2025-11-19", "2025-11-19", None)]
    assert state(connection) == "2025-11-19"


def test_half_days_and_intraday_bars_are_complete_at_their_own_close(connection: Connection) -> None:
    friday = datetime(2025, 11, 28, 13, 30, tzinfo=EXCHANGE_ZONE)  # the session ended at 13:00
    recorder = ChangeRecorder(connection, DAY, friday)
    with connection.transaction():
        load_rows(connection, DAY, [rows(["2025-11-28"])], recorder=recorder)
        recorder.finish()
    assert state(connection) == "2025-11-28"
    load_rows(connection, MINUTE, [rows(["2025-11-28T17:58:00+00:00", "2025-11-28T17:59:00+00:00"])])
    found = connection.execute("SELECT first_bar, last_bar FROM series_changes WHERE timeframe = '1min'").fetchall()
    assert found == [(datetime(2025, 11, 28, 17, 58, tzinfo=UTC), datetime(2025, 11, 28, 17, 59, tzinfo=UTC))]


def test_what_is_rolled_back_has_changed_nothing(connection: Connection) -> None:
    def broken() -> Iterator[BarRows]:
        yield rows(DAYS[:2])
        raise InterruptedError

    with pytest.raises(InterruptedError):
        load_rows(connection, DAY, broken())
    with connection.transaction(force_rollback=True):
        load_rows(connection, DAY, [rows(DAYS)])
    assert changes(connection) == []
    assert connection.execute("SELECT count(*) FROM series_state").fetchone() == (0,)


def test_the_import_command_records_what_it_changes(connection: Connection, tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    file.write_text("symbol,date,open,high,low,close,volume\n" + "".join(f"AAA,{day},1,1,1,1,1\n" for day in DAYS))
    import_bars(connection, [file], DAY)
    file.write_text("symbol,date,open,high,low,close,volume\nAAA,2025-11-18,2,2,2,2,2\n")
    import_bars(connection, [file], DAY)
    assert changes(connection) == [
        ("AAA", "append", "2025-11-17", "2025-11-21", None),
        ("AAA", "correct", "2025-11-18", "2025-11-18", None),
    ]


def test_numbers_are_in_the_order_of_commits(database_url: str, connection: Connection) -> None:
    with connect(database_url) as other:
        second = Thread(target=load_rows, args=(other, DAY, [rows(DAYS[:2], symbol="BBB")]))
        with connection.transaction():
            load_rows(connection, DAY, [rows(DAYS[:1])])
            second.start()
            second.join(0.3)  # it waits for the lock, so its number is later, as its commit is
            load_rows(connection, DAY, [rows(DAYS[1:2])])
        second.join(patient(20))
        assert not second.is_alive()
    assert [symbol for symbol, *_ in changes(connection)] == ["AAA", "AAA", "BBB"]


def test_those_who_wait_are_woken_once_for_each_transaction(database_url: str, connection: Connection) -> None:
    with connect(database_url) as listener:
        listener.execute("LISTEN series_changes")
        with connection.transaction():
            load_rows(connection, DAY, [rows(DAYS[:1])])
            load_rows(connection, DAY, [rows(DAYS[1:2])])
        assert [note.payload for note in listener.notifies(timeout=patient(2), stop_after=1)] == ["day"]
        load_rows(connection, DAY, [rows(DAYS[:2])])  # nothing has changed
        announce_bars(connection, WEEK, ["AAA"])
        assert [note.payload for note in listener.notifies(timeout=patient(2), stop_after=1)] == ["week"]


def test_bars_of_another_program_are_an_append_of_an_unknown_range(connection: Connection) -> None:
    announce_bars(connection, DAY, ["BBB", "AAA", "BBB"])
    assert changes(connection) == [("AAA", "append", None, None, None), ("BBB", "append", None, None, None)]


def test_bars_that_another_program_has_changed_are_corrected_as_far_as_they_were_complete(
    connection: Connection,
) -> None:
    load_rows(connection, DAY, [rows(DAYS[:3]), rows(DAYS[:1], symbol="BBB")])
    connection.execute(
        "INSERT INTO ohlcv_daily SELECT symbol, date + 2, open, high, low, close, volume FROM ohlcv_daily"
        " WHERE symbol = 'AAA' AND date > '2025-11-17'"
    )
    announce_bars(connection, DAY, ["AAA", "BBB", "CCC"], date(2025, 11, 18))
    assert changes(connection)[2:] == [
        ("AAA", "correct", "2025-11-18", "2025-11-19", None),
        ("AAA", "append", "2025-11-20", "2025-11-21", None),
    ]
    announce_bars(connection, DAY, ["AAA"], date(2025, 11, 22))
    assert len(changes(connection)) == 4


def test_old_changes_are_deleted_and_the_state_stays(connection: Connection) -> None:
    for close in ("10", "11", "12", "13"):
        load_rows(connection, DAY, [rows(DAYS, close)])
    past, future = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    for table, old in (("series_changes", 4), ("series_versions", 2)):
        assert count_old_changes(connection, table, past) == delete_old_changes(connection, table, past, 100) == 0
        assert count_old_changes(connection, table, future) == old
        assert delete_old_changes(connection, table, future, 1) == 1
        assert delete_old_changes(connection, table, future, 100) == old - 1
    assert state(connection) == "2025-11-21"
    assert connection.execute("SELECT version FROM series_versions").fetchall() == [(3,)]
