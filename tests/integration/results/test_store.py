"""Results in their tables: what is new is copied, what is stored is compared, and both leave the same rows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest

from harness import wait_until
from patience import patient
from streamworkers.database import Connection, connect
from streamworkers.results import store
from streamworkers.results.store import IndicatorRow, save_indicators

_DAY = datetime(2021, 5, 14, tzinfo=UTC)


def _rows(value: float = 1.5, symbols: str = "ABC") -> list[IndicatorRow]:
    return [
        IndicatorRow(symbol, indicator, _DAY - timedelta(days), value, outputs, 500)
        for symbol in symbols
        for indicator, outputs in (("macd", {"macd": value, "signal": -1e-300}), ("rsi_14", None))
        for days in range(2)
    ]


def _stored(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(
        "SELECT symbol, timeframe, indicator, bar_time, value, value_data, bars_used, run_id FROM indicator_results"
        " ORDER BY 1, 2, 3, 4"
    ).fetchall()


def _expected(rows: list[IndicatorRow], run_id: int) -> list[tuple[object, ...]]:
    return sorted(
        (row.symbol, "day", row.indicator, row.bar_time, row.value, row.outputs, row.bars_used, run_id) for row in rows
    )


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Lets even a few values be worth a COPY, or none."""

    def choose(is_worth: bool) -> None:
        monkeypatch.setattr(store, "_WORTH_COPYING", 1 if is_worth else 10**9)

    choose(True)
    return choose


def _count_statements(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The upserts from now on."""
    found: list[str] = []
    execute = connection.execute

    def note(query: Any, *words: Any) -> Any:
        if query == store._UPSERT_INDICATORS:
            found.append("upsert")
        return execute(query, *words)

    monkeypatch.setattr(connection, "execute", note)
    return found


def test_new_values_are_copied_and_equal_those_that_are_compared(
    connection: Connection, copied: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    upserts = _count_statements(connection, monkeypatch)
    save_indicators(connection, 1, "day", _rows())
    assert (upserts, _stored(connection)) == ([], _expected(_rows(), 1))
    connection.execute("TRUNCATE indicator_results")
    copied(False)
    save_indicators(connection, 1, "day", _rows())
    assert (upserts, _stored(connection)) == (["upsert"], _expected(_rows(), 1))


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("stored", ["A", "B", "C", "ABC"])
def test_if_a_value_is_stored_all_are_compared_in_the_same_transaction(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    save_indicators(connection, 2, "day", _rows(1.0, stored))
    upserts = _count_statements(connection, monkeypatch)
    with connection.transaction():
        connection.execute("INSERT INTO enqueued_counts VALUES ('tests', 'before', 1)")
        save_indicators(connection, 3, "day", _rows(2.0))
    assert (upserts, _stored(connection)) == (["upsert"], _expected(_rows(2.0), 3))
    assert connection.execute("SELECT job FROM enqueued_counts").fetchall() == [("before",)]
    save_indicators(connection, 1, "day", _rows(3.0))
    assert _stored(connection) == _expected(_rows(2.0), 3)


@pytest.mark.usefixtures("copied")
def test_what_another_transaction_stores_meanwhile_is_waited_for_and_compared(
    connection: Connection, database_url: str
) -> None:
    blocked = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
    saving = Thread(target=save_indicators, args=(connection, 2, "day", _rows(2.0)))
    with connect(database_url) as other:
        with other.transaction():
            save_indicators(other, 1, "day", _rows(1.0))
            saving.start()
            pid = connection.info.backend_pid
            wait_until(lambda: other.execute(blocked, (pid,)).fetchone() == (True,))
        saving.join(patient(30))
        assert not saving.is_alive()
    assert _stored(connection) == _expected(_rows(2.0), 2)
