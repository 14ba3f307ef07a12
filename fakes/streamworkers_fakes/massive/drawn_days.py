"""The days of the fake's market, drawn from hashed numbers: cheap functions of a symbol's key and the date."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamworkers_fakes.massive.bars import FakeBars, Floats, Ints

_PERIODS = np.array([1931.0, 421.0, 97.0, 23.7, 8.3])  # of the sines, in days
_AMPLITUDES = np.array([0.35, 0.15, 0.06, 0.025, 0.010])
_NOISE = 0.02
_REACH = 0.015  # how far a day's high and low are from its open and close at most, as a share
_SHARES_A_TRADE = 80
_USUAL_MINUTES = 732
Keys = NDArray[np.uint64]


class Prices(NamedTuple):
    """Columns of prices in dollars."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats


@dataclass(frozen=True, slots=True)
class DrawnDays:
    """Sessions in raw cents and shares, one value for each in every column."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    minutes: Ints
    volume: Ints
    trades: Ints

    def bars(self, start_ms: Ints, fractions: Floats | None = None) -> FakeBars:
        """Return the days as bars in dollars, with parts of shares added to volumes."""
        opens, highs, lows, closes = (column / 100 for column in (self.open, self.high, self.low, self.close))
        vwap = typical(opens, highs, lows, closes)
        volume = self.volume.astype(float) if fractions is None else self.volume + fractions
        return FakeBars(start_ms, opens, highs, lows, closes, volume, vwap, self.trades)


def draw_days(keys: Keys, ordinals: Ints, ratios: Floats, minutes: Ints) -> DrawnDays:
    """Return days of one symbol or one day of many: shapes (1,) and (n,), or (n,) and (1,), for keys and ordinals."""
    opens = _cents(_level(keys, ordinals) * ratios)
    closes = _cents(_level(keys, ordinals + 1) * ratios)
    up, down, busy = (uniform(keys, ordinals, stream) for stream in (1, 2, 3))
    highs = np.rint(np.maximum(opens, closes) * (1 + _REACH * up)).astype(np.int64)
    lows = np.maximum(np.rint(np.minimum(opens, closes) * (1 - _REACH * down)), 1).astype(np.int64)
    usual = np.exp(12 + 4 * uniform(keys, np.zeros(1, np.int64), 4))
    more = np.rint(usual * (0.5 + busy) * minutes / _USUAL_MINUTES / ratios).astype(np.int64)
    return DrawnDays(opens, highs, lows, closes, minutes, minutes + more, minutes + more // _SHARES_A_TRADE)


def _cents(dollars: Floats) -> Ints:
    cents: Ints = np.maximum(np.rint(dollars * 100), 1).astype(np.int64)
    return cents


def _level(keys: Keys, ordinals: Ints) -> Floats:
    """The price in dollars with which a day opens."""
    phases = uniform(keys[:, None], np.arange(len(_PERIODS)), 5) * math.tau
    waves = np.sin(ordinals[:, None] * (math.tau / _PERIODS) + phases) @ _AMPLITUDES
    first, noise = uniform(keys, np.zeros(1, np.int64), 6), uniform(keys, ordinals, 7) - 0.5
    level: Floats = 25 * np.exp(2.7 * first + waves + _NOISE * noise)
    return level


def uniform(keys: Keys, numbers: Ints, stream: int) -> Floats:
    """Return hashed numbers in [0, 1), by the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    offset = keys + np.array([stream * 0x9E3779B97F4A7C15 % 2**64], np.uint64)
    mixed = numbers.astype(np.uint64) * np.uint64(0xD1342543DE82EF95) + offset
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53


def typical(opens: Floats, highs: Floats, lows: Floats, closes: Floats) -> Floats:
    """Return the mean of the four prices of each bar."""
    return np.round((opens + highs + lows + closes) / 4, 4)
