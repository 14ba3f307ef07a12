"""The analysis jobs from stored bars to stored results, on real services."""

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import talib
from psycopg_pool import ConnectionPool

from consumer import Consumer
from harness import items_of, run_status, start_run, subscribe
from patience import patient
from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.keys import PATTERNS_CHANNEL
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.outbox_relay import OutboxRelay
from streamworkers.errors import UsageError
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.read import read_series
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_import import import_bars
from streamworkers.market.universes.csv_import import import_universes
from streamworkers.market.universes.store import resolve
from streamworkers.results import definitions
from streamworkers.results.read import list_latest_indicators, list_recent_patterns

DAY = TIMEFRAMES["day"]
END = date(2024, 6, 28)


def _symbols(count: int) -> list[str]:
    return [f"SYN{number:03d}" for number in range(1, count + 1)]


@pytest.fixture
def bars(connection: Connection) -> None:
    """Daily bars of eight symbols, 300 sessions up to END."""
    load_rows(connection, DAY, generate_bars(8, 300, 7, END))


def _analyse(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    symbols: Iterable[str],
    job: str = "analysis",
    **words: Any,
) -> Run:
    run = start_run(connection, streams, registry, job, *symbols, **words)
    while consumer.work("analysis"):
        pass
    return run


def _row_versions(connection: Connection) -> list[tuple[Any, ...]]:
    return [
        *connection.execute("SELECT symbol, indicator, bar_time, xmin, ctid FROM indicator_results ORDER BY 1, 2, 3"),
        *connection.execute("SELECT symbol, pattern_name, bar_time, xmin, ctid FROM daily_patterns ORDER BY 1, 2, 3"),
    ]


def _results(connection: Connection) -> list[tuple[Any, ...]]:
    return [
        *connection.execute(
            "SELECT symbol, indicator, bar_time, value, value_data FROM indicator_results ORDER BY 1, 2, 3"
        ),
        *connection.execute(
            "SELECT symbol, pattern_name, bar_time, direction, signal, confidence, metadata FROM daily_patterns"
            " ORDER BY 1, 2, 3"
        ),
    ]


@pytest.mark.usefixtures("bars")
def test_stored_values_equal_talib_on_the_same_arrays(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = _analyse(connection, streams, registry, consumer, _symbols(8))
    assert run_status(connection, run) == "COMPLETED"
    for symbol, series in read_series(connection, _symbols(8), DAY, END, 1000).items():
        values = {row["indicator"]: row for row in list_latest_indicators(connection, symbol, "day")}
        assert len(values) >= 40
        assert values["sma_20"]["value"] == talib.SMA(series.close, 20)[-1]
        assert values["rsi_14"]["value"] == talib.RSI(series.close, 14)[-1]
        macd = [output[-1] for output in talib.MACD(series.close, 12, 26, 9)]
        outputs = values["macd_12_26_9"]["value_data"]
        assert [outputs["macd"], outputs["macdsignal"], outputs["macdhist"]] == macd
        assert values["atr_14"]["value"] == talib.ATR(series.high, series.low, series.close, 14)[-1]
        assert values["sma_20"]["bars_used"] == 300
        assert {row["bar_time"] for row in values.values()} == {datetime(2024, 6, 28, 4, tzinfo=UTC)}


@pytest.mark.usefixtures("bars")
def test_repeating_an_as_of_changes_no_row(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    _analyse(connection, streams, registry, consumer, _symbols(8))
    before = _row_versions(connection)
    events = connection.execute("SELECT count(*) FROM outbox").fetchone()
    run = _analyse(connection, streams, registry, consumer, _symbols(8), as_of=datetime(2024, 6, 28, 20, tzinfo=UTC))
    assert run_status(connection, run) == "COMPLETED"
    assert _row_versions(connection) == before
    assert connection.execute("SELECT count(*) FROM outbox").fetchone() == events


@pytest.mark.usefixtures("bars")
def test_a_run_as_of_a_day_ignores_later_bars(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    (day,) = (
        connection.execute("SELECT date FROM ohlcv_daily WHERE symbol = 'SYN001' ORDER BY 1 OFFSET 279").fetchone()
        or ()
    )
    as_of = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
    _analyse(connection, streams, registry, consumer, _symbols(8), as_of=as_of)
    with_later_bars = _results(connection)
    connection.execute("TRUNCATE indicator_results, daily_patterns")
    connection.execute("DELETE FROM ohlcv_daily WHERE date > %s", (day,))
    _analyse(connection, streams, registry, consumer, _symbols(8))
    assert _results(connection) == with_later_bars
    assert len(with_later_bars) > 300


@pytest.mark.usefixtures("bars")
def test_a_backfill_equals_the_nightly_runs_it_replaces(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    days = [row[0] for row in connection.execute("SELECT DISTINCT date FROM ohlcv_daily ORDER BY 1 DESC LIMIT 4")]
    for day in reversed(days):
        as_of = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
        _analyse(connection, streams, registry, consumer, _symbols(3), as_of=as_of)
    night_by_night = _results(connection)
    connection.execute("TRUNCATE indicator_results, daily_patterns")
    _analyse(connection, streams, registry, consumer, _symbols(3), parameters={"last_bars": 4})
    assert _results(connection) == night_by_night


@pytest.mark.usefixtures("bars")
def test_a_subscriber_receives_exactly_the_detections_as_json(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    consumer: Consumer,
    pool: "ConnectionPool[Connection]",
) -> None:
    listener = subscribe(streams, PATTERNS_CHANNEL)
    run = _analyse(connection, streams, registry, consumer, _symbols(8), parameters={"last_bars": 5})
    OutboxRelay(pool, streams, PoolMetrics()).run_once()
    stored = list_recent_patterns(connection, timeframe="day", min_confidence=0, direction=None, limit=1000)
    assert len(stored) > 5
    messages = [json.loads(listener.get_message(timeout=patient(30))["data"]) for _ in stored]
    assert listener.get_message(timeout=0) is None
    listener.close()
    fields = {
        *("event_id", "schema_version", "symbol", "pattern_name", "confidence", "direction", "timeframe", "bar_time"),
        *("detected_at", "run_id", "metadata"),
    }
    assert all(set(message) == fields for message in messages)
    published = {
        (m["symbol"], m["pattern_name"], datetime.fromisoformat(m["bar_time"]), m["confidence"], m["direction"])
        for m in messages
    }
    assert published == {
        (row["symbol"], row["pattern_name"], row["bar_time"], row["confidence"], row["direction"]) for row in stored
    }
    assert {(m["timeframe"], m["run_id"], m["schema_version"]) for m in messages} == {("day", run.id, 1)}


@pytest.mark.usefixtures("bars")
def test_stale_short_and_missing_symbols_are_reported(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    last = END - timedelta(days=30)
    connection.execute("DELETE FROM ohlcv_daily WHERE symbol = 'SYN001' AND date > %s", (last,))
    connection.execute("DELETE FROM ohlcv_daily WHERE symbol = 'SYN002' AND date < %s", (END - timedelta(days=20),))
    run = _analyse(connection, streams, registry, consumer, [*_symbols(3), "NOPE"])
    assert run_status(connection, run) == "COMPLETED_WITH_ERRORS"
    assert items_of(connection, run)["NOPE"] == ("failed", 1, "no day bars of NOPE up to 2024-06-28")
    ((symbol, last_bar),) = ledger_reports.list_items_with_result(connection, run, "stale", 10)
    assert symbol == "SYN001"
    assert date.fromisoformat(last_bar) <= last
    assert list_latest_indicators(connection, "SYN001", "day") == []
    ((symbol, missing),) = [
        row for row in ledger_reports.list_items_with_result(connection, run, "missing", 10) if row[0] == "SYN002"
    ]
    assert {"sma_20", "rsi_14", "golden_cross"} <= set(missing)
    short = {row["indicator"] for row in list_latest_indicators(connection, "SYN002", "day")}
    assert "returns_1" in short
    assert "sma_20" not in short
    assert ledger_reports.list_items_with_result(connection, run, "bars_used", 10)[-1] == ("SYN003", 300)


@pytest.mark.usefixtures("bars")
def test_a_series_that_is_not_finite_is_rejected(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    connection.execute("UPDATE ohlcv_daily SET close = 'NaN' WHERE symbol = 'SYN001' AND date = %s", (END,))
    run = _analyse(connection, streams, registry, consumer, _symbols(2))
    status, attempt, error = items_of(connection, run)["SYN001"]
    assert (status, attempt) == ("failed", 1)
    assert "close of SYN001 at 2024-06-28" in str(error)
    assert "is nan, not a finite number" in str(error)
    assert items_of(connection, run)["SYN002"][0] == "completed"


@pytest.mark.usefixtures("bars")
def test_a_pattern_that_a_corrected_bar_no_longer_has_is_deleted(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    connection.execute(
        "UPDATE ohlcv_daily SET open = 50, high = 500, low = 40, close = 499, volume = 1000000000 WHERE date = %s",
        (END,),
    )
    _analyse(connection, streams, registry, consumer, _symbols(1))
    names = {
        row["pattern_name"]
        for row in list_recent_patterns(connection, timeframe="day", min_confidence=0, direction=None, limit=99)
    }
    assert "volume_spike" in names
    connection.execute("UPDATE ohlcv_daily SET volume = 1000 WHERE date = %s", (END,))
    _analyse(connection, streams, registry, consumer, _symbols(1))
    again = {
        row["pattern_name"]
        for row in list_recent_patterns(connection, timeframe="day", min_confidence=0, direction=None, limit=99)
    }
    assert again == names - {"volume_spike"}


@pytest.mark.usefixtures("bars")
def test_a_result_never_overwrites_one_of_a_newer_run(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    older = start_run(connection, streams, registry, "indicators", "SYN001")
    connection.execute("UPDATE ohlcv_daily SET close = close + 0.01, high = high + 0.01 WHERE date = %s", (END,))
    late = consumer.read("analysis")
    newer = start_run(connection, streams, registry, "indicators", "SYN001")
    consumer.work("analysis")
    before = _results(connection)
    connection.execute("UPDATE ohlcv_daily SET close = close - 0.01 WHERE date = %s", (END,))
    consumer.execute(late)
    assert run_status(connection, older) == run_status(connection, newer) == "COMPLETED"
    assert _results(connection) == before


@pytest.mark.usefixtures("bars")
def test_a_late_older_run_changes_no_symbol_that_a_newer_run_completed(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    connection.execute("UPDATE ohlcv_daily SET volume = 1000 WHERE date = %s", (END,))
    _analyse(connection, streams, registry, consumer, _symbols(2))
    before = _results(connection)
    older = start_run(connection, streams, registry, "analysis", *_symbols(2))
    late = consumer.read("analysis")
    newer = start_run(connection, streams, registry, "analysis", "SYN001")
    consumer.work("analysis")
    assert _results(connection) == before
    connection.execute("UPDATE ohlcv_daily SET volume = 900000000, close = low WHERE date = %s", (END,))
    consumer.execute(late)
    assert run_status(connection, older) == run_status(connection, newer) == "COMPLETED"
    after = _results(connection)
    assert [row for row in after if "SYN001" in row] == [row for row in before if "SYN001" in row]
    assert after != before  # SYN002, which no newer run has done, is written


@pytest.mark.usefixtures("bars")
def test_indicators_and_patterns_are_jobs_of_their_own(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    _analyse(connection, streams, registry, consumer, _symbols(4), "indicators")
    assert connection.execute("SELECT count(*) FROM daily_patterns").fetchone() == (0,)
    indicators = _results(connection)
    connection.execute("TRUNCATE indicator_results")
    _analyse(connection, streams, registry, consumer, _symbols(4), "patterns", parameters={"last_bars": 20})
    assert connection.execute("SELECT count(*) FROM indicator_results").fetchone() == (0,)
    assert connection.execute("SELECT count(*) > 5 FROM daily_patterns").fetchone() == (True,)
    assert len(indicators) > 150


@pytest.mark.usefixtures("bars")
def test_definitions_are_rows_and_fixed_when_the_run_is_enqueued(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    connection.execute("UPDATE indicator_definitions SET enabled = false")
    definitions.add_indicator(connection, IndicatorDefinition("rsi_7", "RSI", {"timeperiod": 7}), None)
    start_run(connection, streams, registry, "indicators", "SYN001")
    definitions.enable_indicator(connection, "rsi_7", False)
    consumer.work("analysis")
    (row,) = list_latest_indicators(connection, "SYN001", "day")
    close = read_series(connection, ["SYN001"], DAY, END, 1000)["SYN001"].close
    assert (row["indicator"], row["value"]) == ("rsi_7", talib.RSI(close, 7)[-1])


@pytest.mark.usefixtures("bars")
def test_the_as_of_is_the_newest_session_with_bars_up_to_the_requested_one(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    sunday = datetime(2024, 6, 23, 16, tzinfo=UTC)
    run = _analyse(connection, streams, registry, consumer, _symbols(2), as_of=sunday)
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    assert report["as_of"] == datetime(2024, 6, 21, 20, tzinfo=UTC)
    assert run_status(connection, run) == "COMPLETED"


def test_an_open_bar_is_not_used(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    load_rows(connection, DAY, generate_bars(1, 60, 7, END))
    connection.execute(
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
        " SELECT symbol, (now() + interval '2 days')::date, open, high, low, close, volume"
        " FROM ohlcv_daily WHERE date = %s",
        (END,),
    )
    run = _analyse(connection, streams, registry, consumer, ["SYN001"])
    assert ledger_reports.list_items_with_result(connection, run, "bars_used", 1) == [("SYN001", 60)]


def test_intraday_results_have_the_time_of_their_bar(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    first = datetime(2024, 6, 3, 13, 30, tzinfo=UTC)
    rng = np.random.default_rng(3)
    price = 100.0
    for number in range(120):
        price *= 1 + 0.001 * float(rng.standard_normal())
        moment = first + timedelta(hours=number)
        connection.execute(
            "INSERT INTO ohlcv_hourly VALUES ('X', %s, %s, %s, %s, %s, 1000)",
            (moment, price, price * 1.001, price * 0.999, price),
        )
    run = _analyse(connection, streams, registry, consumer, ["X"], timeframe="hour")
    assert run_status(connection, run) == "COMPLETED"
    rows = list_latest_indicators(connection, "X", "hour")
    assert {row["bar_time"] for row in rows} == {first + timedelta(hours=119)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"timeframe": "2day"}, "timeframe '2day' is not one of 1min, hour, day, week, month"),
        ({"parameters": {"max_bars": 0}}, "parameter max_bars=0 of job 'analysis': it is not at least 1"),
        ({"parameters": {"bars": 5}}, "parameter bars=5 of job 'analysis': nothing has this name"),
        (
            {"parameters": {"indicator_definitions": [{"name": "x", "function": "NOPE", "params": {}}]}},
            "no indicator function is named 'NOPE'",
        ),
    ],
)
def test_a_request_that_breaks_a_rule_is_rejected(
    connection: Connection, streams: Streams, registry: Registry, words: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        start_run(connection, streams, registry, "analysis", "A", **words)


@pytest.mark.market_data
def test_the_night_of_the_sp500(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, market_data: Path
) -> None:
    import_bars(connection, [market_data / "sp500_daily_2016_2021.csv.gz"], DAY)
    import_universes(connection, market_data / "universes.csv")
    symbols = resolve(connection, "sp500:nasdaq100:dow30")
    run = _analyse(connection, streams, registry, consumer, symbols)
    assert run_status(connection, run) == "COMPLETED"
    stale = dict(ledger_reports.list_items_with_result(connection, run, "stale", 1000))
    assert len(symbols) == 470
    # Twelve symbols left the exchange; the thirteenth is SCG, whose bar of the last session is rejected as impossible.
    assert (len(stale), stale["SCG"]) == (13, "2021-05-13")
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    assert report["as_of"] == datetime(2021, 5, 14, 20, tzinfo=UTC)
    before = _row_versions(connection)
    _analyse(connection, streams, registry, consumer, symbols, as_of=datetime(2021, 5, 14, 20, tzinfo=UTC))
    assert _row_versions(connection) == before
