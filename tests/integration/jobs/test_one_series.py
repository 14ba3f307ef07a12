"""A value at a bar does not depend on the run that wrote it: night, fill, replay, or a run with fewer bars."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import pytest
import talib

from consumer import Consumer
from harness import start_run
from streamworkers.analysis.definitions import IndicatorDefinition
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.read import read_older, read_series
from streamworkers.market.bars.write import announce_bars, load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.results.definitions import add_indicator

DAY = TIMEFRAMES["day"]
END = date(2024, 6, 28)
SYMBOLS = ("SYN001", "SYN002")
Rows = list[tuple[Any, ...]]


class Pool:
    """Runs the analysis of two symbols, of which one has 900 days and the other 650, on real services."""

    def __init__(self, connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> None:
        self.connection, self.streams, self.registry, self.consumer = connection, streams, registry, consumer
        rows = connection.execute("SELECT date FROM ohlcv_daily WHERE symbol = 'SYN001' ORDER BY 1").fetchall()
        self.days: Sequence[date] = [day for (day,) in rows]

    def run(
        self, job: str = "analysis", day: date | None = None, symbols: Sequence[str] = SYMBOLS, **words: Any
    ) -> None:
        """Execute a run, as of the evening of a day if one is given, to its end."""
        as_of = None if day is None else datetime.combine(day, time(23), UTC)
        start_run(self.connection, self.streams, self.registry, job, *symbols, as_of=as_of, parameters=words)
        while self.consumer.work("analysis"):
            pass

    def announce(self, since: date) -> None:
        """Record that bars of the first symbol have been changed by SQL."""
        announce_bars(self.connection, DAY, SYMBOLS[:1], since)

    def values(self) -> Rows:
        """Every stored value with its bars."""
        return self.connection.execute(
            "SELECT symbol, indicator, bar_time, value, value_data, bars_used FROM indicator_results ORDER BY 1, 2, 3"
        ).fetchall()

    def patterns(self) -> Rows:
        """Every stored detection."""
        return self.connection.execute(
            "SELECT symbol, pattern_name, bar_time, direction, signal, confidence, metadata FROM daily_patterns"
            " ORDER BY 1, 2, 3"
        ).fetchall()

    def value_of(self, indicator: str, symbol: str = "SYN001") -> tuple[float, int]:
        """The newest stored value of an indicator and the bars that it was computed from."""
        row = self.connection.execute(
            "SELECT value, bars_used FROM indicator_results WHERE symbol = %s AND indicator = %s"
            " ORDER BY bar_time DESC LIMIT 1",
            (symbol, indicator),
        ).fetchone()
        assert row is not None
        return row


@pytest.fixture
def pool(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> Pool:
    load_rows(connection, DAY, generate_bars(2, 900, 7, END))
    connection.execute(
        "DELETE FROM ohlcv_daily WHERE symbol = 'SYN002' AND date < (SELECT date FROM ohlcv_daily"
        " WHERE symbol = 'SYN002' ORDER BY 1 OFFSET 250 LIMIT 1)"
    )
    connection.execute("UPDATE pattern_definitions SET enabled = true")
    return Pool(connection, streams, registry, consumer)


def test_a_fill_equals_the_nights_in_values_bars_and_patterns(pool: Pool) -> None:
    for day in pool.days[-12:]:
        pool.run(day=day)
    values, patterns = pool.values(), pool.patterns()
    assert len(values) == 12 * 46 * 2
    assert len(patterns) > 30
    assert len({(row[0], row[1], row[5]) for row in values}) > 500  # the bars used differ from night to night
    pool.run(last_bars=12)
    assert (pool.values(), pool.patterns()) == (values, patterns)
    pool.connection.execute("TRUNCATE indicator_results, daily_patterns")
    pool.run(last_bars=12)
    assert (pool.values(), pool.patterns()) == (values, patterns)
    pool.run(day=pool.days[-7])
    assert (pool.values(), pool.patterns()) == (values, patterns)


def test_a_sum_counts_from_the_first_bar_on_every_night(pool: Pool) -> None:
    close, volume = (
        np.array([float(row[0]) for row in pool.connection.execute(statement)])
        for statement in (
            b"SELECT close FROM ohlcv_daily WHERE symbol = 'SYN001' ORDER BY date",
            b"SELECT volume FROM ohlcv_daily WHERE symbol = 'SYN001' ORDER BY date",
        )
    )
    whole = talib.OBV(close, volume)
    for index in (600, 601, 602, 898, 899):
        pool.run("indicators", pool.days[index])
        assert pool.value_of("obv") == (whole[index], index + 1)
        pool.connection.execute("TRUNCATE indicator_results")


def test_true_bars_used_and_the_values_of_the_whole_history(pool: Pool) -> None:
    pool.run("indicators", last_bars=700)
    close = read_series(pool.connection, ["SYN001"], DAY, END, 900)["SYN001"].close
    for name, whole in (("ema_200", talib.EMA(close, 200)), ("rsi_14", talib.RSI(close, 14))):
        rows = pool.connection.execute(
            "SELECT value, bars_used FROM indicator_results"
            " WHERE symbol = 'SYN001' AND indicator = %s ORDER BY bar_time",
            (name,),
        ).fetchall()
        found, used = np.array(rows, np.float64).T
        np.testing.assert_allclose(found, whole[-len(rows) :], rtol=1e-9)
        assert (used <= np.arange(900 - len(rows) + 1, 901)).all()
    assert used[-1] < 700
    assert pool.value_of("ema_200")[1] == 900


@pytest.mark.parametrize("job", ["indicators", "analysis"])
def test_a_run_with_fewer_bars_replaces_and_deletes_nothing_that_was_computed_from_more(pool: Pool, job: str) -> None:
    pool.run(last_bars=30)
    values, patterns = pool.values(), pool.patterns()
    for max_bars in (5, 60, 150, 400):
        pool.run(job, last_bars=30, max_bars=max_bars)
        assert (pool.values(), pool.patterns()) == (values, patterns)


def test_a_run_with_fewer_bars_finds_the_patterns_that_need_no_more(pool: Pool) -> None:
    pool.run("patterns", last_bars=30)
    whole = [row[:5] for row in pool.patterns()]
    pool.connection.execute("TRUNCATE daily_patterns")
    pool.run("patterns", last_bars=30, max_bars=400)
    assert [row[:5] for row in pool.patterns()] == [row for row in whole if row[1] != "macd_cross"] != []


def test_more_bars_replace_fewer_and_a_cut_sum_is_not_stored(pool: Pool) -> None:
    pool.run("indicators", max_bars=300)
    assert pool.value_of("ema_200")[1] == 300
    assert pool.connection.execute("SELECT count(*) FROM indicator_results WHERE indicator = 'obv'").fetchone() == (0,)
    short = pool.value_of("ema_200")[0]
    pool.run("indicators", max_bars=500)
    assert pool.value_of("ema_200")[1] == 500
    pool.run("indicators")
    assert pool.value_of("ema_200")[1] == 900
    assert pool.value_of("ema_200")[0] != short
    assert pool.value_of("obv")[1] == 900


def test_a_value_that_ceases_to_exist_is_deleted_and_the_others_stay(pool: Pool) -> None:
    pool.run("indicators", last_bars=20)
    before = {row[:3]: row for row in pool.values()}
    last = pool.days[-16:]
    pool.connection.execute(
        "UPDATE ohlcv_daily SET open = 50, high = 50, low = 50, close = 50 WHERE symbol = 'SYN001' AND date = ANY(%s)",
        (list(last),),
    )
    pool.announce(last[0])
    pool.run("indicators", last_bars=20)
    gone = before.keys() - {row[:3] for row in pool.values()}
    assert {key[1] for key in gone} >= {"willr_14", "cci_20", "mfi_14", "ultosc_7_14_28"} - {"cci_20"}
    assert {key[0] for key in gone} == {"SYN001"}
    assert all(key[2].date() >= last[12] or key[1] == "ultosc_7_14_28" for key in gone)


def _versions(pool: Pool) -> Rows:
    return [
        *pool.connection.execute(
            "SELECT symbol, indicator, bar_time, xmin, ctid FROM indicator_results ORDER BY 1, 2, 3"
        ),
        *pool.connection.execute(
            "SELECT symbol, pattern_name, bar_time, xmin, ctid FROM daily_patterns ORDER BY 1, 2, 3"
        ),
    ]


def _recomputed(pool: Pool) -> tuple[Rows, Rows]:
    """What a fill of the whole period gives on empty tables."""
    pool.connection.execute("TRUNCATE indicator_results, daily_patterns")
    pool.run(last_bars=15)
    return pool.values(), pool.patterns()


def test_after_a_split_all_results_of_the_symbol_are_computed_again_and_no_others(pool: Pool) -> None:
    pool.run(last_bars=15)
    before = {row[:3]: row for row in _versions(pool)}
    first = "SELECT DISTINCT series_version FROM indicator_results WHERE symbol = 'SYN001'"
    assert pool.connection.execute(first.encode()).fetchall() == [(0,)]
    pool.connection.execute(
        "UPDATE ohlcv_daily SET open = open / 4, high = high / 4, low = low / 4, close = close / 4, volume = volume * 4"
        " WHERE symbol = 'SYN001'"
    )
    pool.announce(pool.days[0])
    pool.run()
    after = {row[:3]: row for row in _versions(pool)}
    assert {key for key in after if key[0] == "SYN002" and after[key] != before.get(key)} == set()
    found = pool.values(), pool.patterns()
    versions = pool.connection.execute(
        "SELECT symbol, min(series_version), max(series_version) FROM indicator_results GROUP BY 1"
        " UNION ALL SELECT symbol, min(series_version), max(series_version) FROM daily_patterns GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert versions == [("SYN001", 1, 1), ("SYN001", 1, 1), ("SYN002", 0, 0), ("SYN002", 0, 0)]
    assert found == _recomputed(pool)


def test_after_a_correction_the_results_from_its_bar_on_are_computed_again_and_no_others(pool: Pool) -> None:
    pool.run(last_bars=15)
    before = {row[:3]: row for row in _versions(pool)}
    corrected = pool.days[-6]
    pool.connection.execute(
        "UPDATE ohlcv_daily SET high = high * 1.02, close = high WHERE symbol = 'SYN001' AND date = %s", (corrected,)
    )
    pool.announce(corrected)
    pool.run()
    changed = {key for key, row in {row[:3]: row for row in _versions(pool)}.items() if row != before.get(key)}
    assert {key[0] for key in changed} == {"SYN001"}
    assert {key[2].date() for key in changed} == set(pool.days[-6:])
    found = pool.values(), pool.patterns()
    pool.run()
    assert (pool.values(), pool.patterns()) == found
    assert found == _recomputed(pool)


def test_only_a_run_of_everything_at_the_newest_bar_computes_outdated_results_again(pool: Pool) -> None:
    pool.run(last_bars=15)
    values = pool.values()
    pool.connection.execute("UPDATE ohlcv_daily SET volume = volume * 3 WHERE symbol = 'SYN001'")
    pool.announce(pool.days[0])
    rows = ({"name": "obv", "function": "OBV", "params": {}},)
    pool.run("indicators", indicator_definitions=rows)
    pool.run("indicators", day=pool.days[-3])
    pool.run("indicators", max_bars=700)
    newest = {row[2] for row in values if row[2].date() in (pool.days[-1], pool.days[-3])}
    assert [row for row in pool.values() if row[2] not in newest] == [row for row in values if row[2] not in newest]
    pool.run("indicators")
    found = pool.values()
    state = "SELECT outdated_indicators_from, outdated_patterns_from FROM series_state WHERE symbol = 'SYN001'"
    indicators, patterns = pool.connection.execute(state).fetchone() or (0, 0)
    assert indicators is None
    assert patterns is not None
    pool.run("patterns")
    assert pool.connection.execute(state).fetchone() == (None, None)
    assert (found, pool.patterns()) == _recomputed(pool)


def test_more_patterns_than_the_usual_are_computed_from_enough_bars(pool: Pool) -> None:
    pool.connection.execute(
        "UPDATE pattern_definitions SET params = '{\"fast\": 50, \"slow\": 700}' WHERE name = 'golden_cross'"
    )
    pool.run("patterns", symbols=["SYN001"], last_bars=150)
    (row,) = pool.connection.execute("SELECT result FROM run_items ORDER BY run_id DESC LIMIT 1").fetchall()
    assert "missing" not in row[0]
    assert row[0]["bars_used"] == 900


def test_older_bars_are_read_with_the_columns_that_are_asked_for(connection: Connection) -> None:
    load_rows(connection, DAY, generate_bars(3, 50, 7, END))
    whole = read_series(connection, ["SYN001", "SYN002"], DAY, END, 50)
    before = {symbol: series.times[30].item() for symbol, series in whole.items()}
    found = read_older(connection, before, DAY, None, ("close", "volume"))
    for symbol, series in found.items():
        np.testing.assert_array_equal(series.times, whole[symbol].times[:30])
        np.testing.assert_array_equal(series.close, whole[symbol].close[:30])
        np.testing.assert_array_equal(series.volume, whole[symbol].volume[:30])
        assert np.isnan(series.open).all()
    limited = read_older(connection, {"SYN001": whole["SYN001"].times[30].item(), "NOPE": END}, DAY, 4, ("high",))
    assert list(limited) == ["SYN001"]
    np.testing.assert_array_equal(limited["SYN001"].high, whole["SYN001"].high[26:30])


def test_hours_are_one_series_too(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    rng = np.random.default_rng(3)
    hours = np.datetime64("2024-01-02T14:30", "m") + np.arange(800) * np.timedelta64(1, "h")
    price = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, 800)))
    with connection.cursor().copy("COPY ohlcv_hourly FROM STDIN") as copy:
        for hour, at in zip(hours.tolist(), price.tolist(), strict=True):
            copy.write_row(("X", hour.replace(tzinfo=UTC), at, at * 1.001, at * 0.999, at, 1000 + hour.hour))
    add_indicator(connection, IndicatorDefinition("kama", "KAMA", {}), ["hour"])
    for index in (790, 795, 799):
        moment = hours[index].item().replace(tzinfo=UTC, minute=59)
        start_run(connection, streams, registry, "indicators", "X", timeframe="hour", as_of=moment)
        consumer.work("analysis")
    statement = "SELECT indicator, bar_time, value, bars_used FROM indicator_results ORDER BY 1, 2"
    nights = connection.execute(statement).fetchall()
    start_run(connection, streams, registry, "indicators", "X", timeframe="hour", parameters={"last_bars": 12})
    consumer.work("analysis")
    fill = {row[:2]: row for row in connection.execute(statement).fetchall()}
    assert len({row[1] for row in nights}) >= 2
    assert [fill[row[:2]] for row in nights] == nights
