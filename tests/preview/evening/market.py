"""Bars, indicator values and patterns of the symbols, as the runs of the days before left them."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import numpy as np
import talib
from numpy.typing import NDArray

from preview.evening.plan import SEED, TONIGHT, UNIVERSES, Night, RunPlan, at
from streamworkers.database import Connection, fetch_rows
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.universes.store import add_symbols

# Fewer than the runs have items: the pictures lose nothing, and the scene is made in seconds.
_SYMBOLS, _DAYS, _KEPT = 120, 290, 60
_INDICATORS = ("sma_20", "sma_50", "sma_200", "rsi_14")
_PRICES = ("open", "high", "low", "close")


def write_market(connection: Connection, night: Night, runs: Sequence[RunPlan]) -> None:
    """Daily bars up to the last load, and the results of the sessions before; nothing on the first evening."""
    if night.is_first:
        return
    last = TONIGHT - timedelta(days=1) if night.provider_is_dead else TONIGHT
    loaded = load_rows(connection, TIMEFRAMES["day"], generate_bars(_SYMBOLS, _DAYS, SEED, last))
    for name, share in zip(UNIVERSES.split(":"), (60, 120, 30), strict=True):
        add_symbols(connection, name, sorted(loaded.symbols)[:share])
    for table, unit in (("ohlcv_weekly", "week"), ("ohlcv_monthly", "month")):
        connection.execute(
            f"INSERT INTO {table} (symbol, date, open, high, low, close, volume)"
            f" SELECT symbol, date_trunc('{unit}', date)::date, (array_agg(open ORDER BY date))[1], max(high),"
            " min(low), (array_agg(close ORDER BY date DESC))[1], sum(volume) FROM ohlcv_daily GROUP BY 1, 2"
        )
    _write_intraday(connection, night.now)
    newest = {job: max((run.id for run in runs if run.job == job), default=0) for job in ("indicators", "patterns")}
    patterns = fetch_rows(connection, "SELECT name, function, params FROM pattern_definitions WHERE enabled", ())
    with connection.cursor() as cursor:
        bars = list(_series(connection))
        with cursor.copy(
            "COPY indicator_results (symbol, timeframe, indicator, bar_time, value, bars_used, run_id, calculated_at)"
            " FROM STDIN"
        ) as copy:
            for symbol, days, prices in bars:
                for row in _indicators(symbol, days, prices):
                    copy.write_row((*row, newest["indicators"], row[3] + timedelta(hours=18, minutes=14)))
        with cursor.copy(
            "COPY daily_patterns (symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, run_id,"
            " detected_at) FROM STDIN"
        ) as copy:
            for symbol, days, prices in bars:
                for found in _patterns(symbol, days, prices, patterns):
                    copy.write_row((*found, newest["patterns"], found[3] + timedelta(hours=18, minutes=20)))


def _write_intraday(connection: Connection, now: datetime) -> None:
    """The hours of ten days and the minutes of the last session, of twenty symbols."""
    close = at(TONIGHT, time(16))
    connection.execute("SELECT ensure_ohlcv_1min_partition(%s)", (close,))
    for table, unit, count in (("ohlcv_hourly", "hour", 60), ("ohlcv_1min", "minute", 390)):
        connection.execute(
            f"INSERT INTO {table} (symbol, timestamp, open, high, low, close, volume)"
            f" SELECT symbol, %s::timestamptz - n * interval '1 {unit}', 50 + sin(n), 51.5 + sin(n), 49 + sin(n - 1),"
            " 50 + sin(n - 1), 1000 + 10 * n FROM generate_series(1, %s) AS n,"
            " (SELECT DISTINCT symbol FROM ohlcv_daily ORDER BY symbol LIMIT 20) s",
            (min(close, now), count),
        )


def _series(connection: Connection) -> Iterator[tuple[str, list[date], dict[str, NDArray[np.float64]]]]:
    statement = (
        "SELECT symbol, array_agg(date ORDER BY date) AS days, "
        + ", ".join(f"array_agg({name}::float8 ORDER BY date) AS {name}" for name in _PRICES)
        + " FROM ohlcv_daily GROUP BY symbol ORDER BY symbol"
    )
    for row in fetch_rows(connection, statement, ()):
        yield row["symbol"], row["days"], {name: np.array(row[name]) for name in _PRICES}


def _indicators(
    symbol: str, days: Sequence[date], prices: dict[str, NDArray[np.float64]]
) -> Iterator[tuple[str, str, str, datetime, float, int]]:
    close = prices["close"]
    for name in _INDICATORS:
        function, period = name.split("_")
        values = getattr(talib, function.upper())(close, timeperiod=int(period))
        for place in range(len(days) - _KEPT, len(days)):
            if np.isfinite(values[place]):
                yield symbol, "day", name, at(days[place], time()), float(values[place]), place + 1


def _patterns(
    symbol: str, days: Sequence[date], prices: dict[str, NDArray[np.float64]], patterns: Sequence[dict[str, Any]]
) -> Iterator[tuple[str, str, str, datetime, str, int, float]]:
    for pattern in patterns:
        if not pattern["function"].startswith("CDL"):
            continue
        signals = getattr(talib, pattern["function"])(*(prices[name] for name in _PRICES), **pattern["params"])
        for place in range(len(days) - _KEPT, len(days)):
            if signal := int(signals[place]):
                direction = "bullish" if signal > 0 else "bearish"
                moved = abs(prices["close"][place] / prices["open"][place] - 1)
                confidence = round(min(0.97, 0.42 + 12 * moved), 3)
                yield symbol, "day", pattern["name"], at(days[place], time()), direction, signal, confidence
