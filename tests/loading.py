"""What tests of the loader share: a fake Massive, the settings that lead to it, and what is stored."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from consumer import Consumer
from harness import start_run
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.bars.bars import Bars
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers_fakes.massive import DEFAULT_KEY, FakeMassive, RunningFakeMassive, running_fake_massive

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2025, 11, 25, 18, 0, tzinfo=NEW_YORK)  # a Tuesday
THIRTY = tuple(f"S{number:02d}" for number in range(30))


@contextmanager
def massive(
    patch: pytest.MonkeyPatch, fake: FakeMassive | None = None, **settings: Any
) -> Iterator[RunningFakeMassive]:
    """A fake Massive, by default at `NOW`, and the environment of the loader with these settings."""
    with running_fake_massive(fake or FakeMassive(now=NOW)) as server:
        for name, value in loader_environment(server, **settings).items():
            patch.setenv(name, value)
        yield server


def loader_environment(server: RunningFakeMassive, **settings: Any) -> dict[str, str]:
    """Variables for a loader that asks this server as often as it likes."""
    given = {
        "massive_base_url": server.url,
        "massive_api_key": DEFAULT_KEY,
        "massive_calls_per_minute": 0,
        "massive_timeout_seconds": patient(5),
    } | settings
    return {f"STREAMWORKERS_{name.upper()}": str(value) for name, value in given.items()}


def stored_bars(connection: Connection, timeframe: str) -> list[tuple[Any, ...]]:
    """Every bar of a table: symbol, time, open, high, low, close, volume."""
    frame = TIMEFRAMES[timeframe]
    return connection.execute(
        f"SELECT symbol, {frame.time_column}, open::float8, high::float8, low::float8, close::float8, volume"
        f" FROM {frame.table} ORDER BY 1, 2"
    ).fetchall()


def counts(connection: Connection) -> dict[str, dict[str, int]]:
    """Number of stored bars by timeframe and symbol; timeframes without any are left out."""
    found: dict[str, dict[str, int]] = {}
    for name in TIMEFRAMES:
        for symbol, *_ in stored_bars(connection, name):
            by_symbol = found.setdefault(name, {})
            by_symbol[symbol] = by_symbol.get(symbol, 0) + 1
    return found


def results(connection: Connection, run: Run) -> dict[tuple[str, str], tuple[str, dict[str, Any] | None, str | None]]:
    """(state, result, error) of every item by symbol and timeframe."""
    rows = connection.execute(
        "SELECT symbol, timeframe, status, result, error FROM run_items WHERE run_id = %s", (run.id,)
    )
    return {(symbol, timeframe): (status, result, error) for symbol, timeframe, status, result, error in rows}


def bars_of_days(first: int, count: int) -> Bars:
    """So many plain day bars, from a day since 1970 on."""
    prices = np.full(count, 10.0)
    return Bars(
        np.arange(first, first + count).view("datetime64[D]"), prices, prices, prices, prices, np.ones(count, np.int64)
    )


def later(**words: float) -> datetime:
    """`NOW`, and so much on."""
    return NOW + timedelta(**words)


class Loader:
    """Starts loads and works on them until they have ended."""

    def __init__(self, consumer: Consumer, connection: Connection, streams: Streams, registry: Registry) -> None:
        self.consumer, self.connection, self.streams, self.registry = consumer, connection, streams, registry

    def start(self, *symbols: str, timeframes: tuple[str, ...] = ("day",), now: datetime = NOW, **words: Any) -> Run:
        """A run that nobody works on yet."""
        return start_run(
            self.connection,
            self.streams,
            self.registry,
            "load_ohlcv",
            *symbols,
            timeframes=timeframes,
            as_of=now,
            parameters=words,
        )

    def load(self, *symbols: str, **words: Any) -> Run:
        """A run to its end."""
        run = self.start(*symbols, **words)
        self.consumer.work_until_empty("load")
        return run
