"""Series to compute on, and the default definitions that the migration inserts."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.market.bars.bars import Bars

SEED_FILES = sorted((Path(__file__).parents[3] / "sql" / "migrations").glob("*_definitions.sql"))
_ROW = re.compile(r"^ +\('(?P<name>\w+)', '(?P<function>\w+)', '(?P<params>\{.*?\})'(?:, (?P<rest>.*?))?\)[,;]?$")

SeriesMaker = Callable[..., Bars]


def make_random_series(bars: int, seed: int = 7, first_day: str = "2022-03-01") -> Bars:
    """Daily bars of a random walk in cents, with quiet, wild and gapping stretches and whole volumes."""
    rng = np.random.default_rng(seed)
    wildness = np.repeat(rng.uniform(0.002, 0.04, bars // 40 + 1), 40)[:bars]
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1.0, bars) * wildness))
    open_ = np.concatenate(([100.0], close[:-1])) * np.exp(rng.normal(0.0, 0.5, bars) * wildness)
    reach = rng.exponential(0.5, (2, bars)) * wildness
    high = np.maximum(open_, close) * (1.0 + reach[0])
    low = np.minimum(open_, close) * (1.0 - reach[1])
    open_, high, low, close = (np.round(prices, 2) for prices in (open_, high, low, close))
    volume = np.floor(rng.lognormal(12.0, 0.7, bars))
    times = np.datetime64(first_day, "D") + np.arange(bars)
    return Bars(times, open_, high, low, close, volume)


def make_bars(**columns: list[float]) -> Bars:
    """Daily bars from columns; a price column left out is the close, and volume left out is 1000."""
    close = np.array(columns["close"], dtype=np.float64)
    arrays = {name: np.array(columns.get(name, close), dtype=np.float64) for name in ("open", "high", "low")}
    volume = np.array(columns.get("volume", np.full(len(close), 1000.0)), dtype=np.float64)
    times = np.datetime64("2024-01-01", "D") + np.arange(len(close))
    return Bars(times, close=close, volume=volume, **arrays)


def cut_series(series: Bars, bars: int) -> Bars:
    """The first `bars` bars as copies of their own, as if the later ones had never been read."""
    names = ("times", "open", "high", "low", "close", "volume")
    return replace(series, **{name: getattr(series, name)[:bars].copy() for name in names})


@pytest.fixture(scope="session")
def random_series() -> SeriesMaker:
    return make_random_series


@pytest.fixture(scope="session")
def bars_of() -> SeriesMaker:
    return make_bars


@pytest.fixture(scope="session")
def cut() -> Callable[[Bars, int], Bars]:
    return cut_series


def _seed_rows(table: str) -> Iterator[dict[str, Any]]:
    inserting = ""
    for line in "".join(path.read_text() for path in SEED_FILES).splitlines():
        if line.startswith("INSERT INTO "):
            inserting = line.split()[2]
        row = _ROW.match(line)
        if row and inserting == table:
            yield {
                "name": row["name"],
                "function": row["function"],
                "params": json.loads(row["params"]),
                "enabled": row["rest"] != "false",
            }


@pytest.fixture(scope="session")
def indicator_rows() -> list[dict[str, Any]]:
    return list(_seed_rows("indicator_definitions"))


@pytest.fixture(scope="session")
def pattern_rows() -> list[dict[str, Any]]:
    return list(_seed_rows("pattern_definitions"))


@pytest.fixture(scope="session")
def default_indicators(indicator_rows: list[dict[str, Any]]) -> list[IndicatorDefinition]:
    return [IndicatorDefinition.from_row(row) for row in indicator_rows]


@pytest.fixture(scope="session")
def all_patterns(pattern_rows: list[dict[str, Any]]) -> list[PatternDefinition]:
    return [PatternDefinition.from_row({**row, "confidence_threshold": 0.0}) for row in pattern_rows]
