"""Finds bars that do not fit their neighbours: prices ten times too large or small, and splits without adjustment.

`JumpWatch` notices cheaply, while a file is read, which symbols may have such bars; `find_misfits` decides.
"""

from dataclasses import dataclass, field
from operator import ne
from typing import NamedTuple

import numpy as np

from streamworkers.market.bars.bars import FloatArray, Mask
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import PriceColumns, RowChunk

SPIKE_FACTOR = 8.0
NEWEST_SPIKE_FACTOR = 500.0  # at an end of what a provider sends: the bar may be right and begin a move that lasts
_NEIGHBOURS_AGREE = 2.5
_LEAST_JUMP = 1.8
_CALM_RANGE = 1.25
_SPLIT_TOLERANCE = 0.06
_SPLITS = np.array([2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100], np.float64)


class Misfit(NamedTuple):
    """A bar that does not fit: its place in the series, the rule, and a message."""

    place: int
    rule: Rule
    detail: str


@dataclass(slots=True)
class JumpWatch:
    """Collects the symbols of which a bar may not fit the bar before it in the file."""

    symbols: set[str] = field(default_factory=set)
    _newest: dict[str, PriceColumns] = field(default_factory=dict)

    def note(self, chunk: RowChunk) -> None:
        """Look at the next rows of the file."""
        symbols, prices = chunk.rows.symbols, chunk.prices
        if not symbols:
            return
        moved = _has_moved(prices.at(slice(None, -1)), prices.at(slice(1, None)))
        is_new = np.fromiter(map(ne, symbols[1:], symbols), np.bool_, len(symbols) - 1)
        self.symbols.update(symbols[place + 1] for place in np.flatnonzero(moved & ~is_new).tolist())
        begins = [0, *(np.flatnonzero(is_new) + 1).tolist()]
        for begin, end in zip(begins, [*begins[1:], len(symbols)], strict=True):
            before = self._newest.get(symbols[begin])
            if before is not None and _has_moved(before, prices.at(slice(begin, begin + 1))).any():
                self.symbols.add(symbols[begin])
            # A slice would keep the prices of the whole chunk in memory.
            self._newest[symbols[begin]] = prices.at(np.array([end - 1]))


def _has_moved(before: PriceColumns, after: PriceColumns) -> Mask:
    """Return a mask of bars that `find_misfits` may find, by the bar before each."""
    is_spike = (after.high >= SPIKE_FACTOR * before.close) | (after.low * SPIKE_FACTOR <= before.close)
    has_jumped = (after.open >= _LEAST_JUMP * before.close) | (after.open * _LEAST_JUMP <= before.close)
    return is_spike | (has_jumped & _is_calm(before) & _is_calm(after))


def _is_calm(prices: PriceColumns) -> Mask:
    return prices.high <= _CALM_RANGE * prices.low


def find_misfits(prices: PriceColumns) -> list[Misfit]:
    """Return the bars of one series, in order of time, that do not fit their neighbours.

    `price_spike`: a price at least 8 times, or at most 1/8 of, the closes before and after it, which agree with each
    other; at either end of the series, of the two closes next to it. `price_jump`: an opening at a whole multiple or
    fraction of the close before it, between two quiet bars, as after a split that is not adjusted for.
    """
    if len(prices.close) < 2:
        return []
    spikes = find_spikes(prices)
    return sorted([*spikes, *_find_jumps(prices, {spike.place for spike in spikes})])


def find_spikes(prices: PriceColumns, at_ends: float = SPIKE_FACTOR) -> list[Misfit]:
    """Return the bars that break `price_spike`; those at the ends are judged by a factor of their own."""
    count = len(prices.close)
    if count < 3:
        return []
    # The two neighbours of each bar; those of the first and the last bar are both on one side.
    left, right = np.arange(-1, count - 1), np.arange(1, count + 1)
    left[0], right[-1] = 2, count - 3
    one, two = prices.close[left], prices.close[right]
    low, high = np.minimum(one, two), np.maximum(one, two)
    agree = high <= _NEIGHBOURS_AGREE * low
    factor = np.full(count, SPIKE_FACTOR)
    factor[[0, -1]] = at_ends
    # With neighbours that differ nobody knows which of the three is wrong.
    over = agree & (prices.high >= factor * high)
    under = agree & (prices.low * factor <= low)
    found = []
    for place in np.flatnonzero(over | under).tolist():
        name, value = ("high", prices.high) if over[place] else ("low", prices.low)
        detail = (
            f"{name} {value[place]:g} is {_times(value.item(place), one.item(place))} its neighbours, which close at"
            f" {one[place]:g} and {two[place]:g}"
        )
        found.append(Misfit(place, Rule.PRICE_SPIKE, detail))
    return found


def _find_jumps(prices: PriceColumns, spikes: set[int]) -> list[Misfit]:
    calm = _is_calm(prices)
    ratio = prices.open[1:] / prices.close[:-1]
    factor = np.maximum(ratio, 1 / ratio)
    moved = np.flatnonzero((factor >= _LEAST_JUMP) & calm[1:] & calm[:-1])
    found = []
    for place in moved.tolist():
        if place in spikes or place + 1 in spikes or not _is_split(factor[place : place + 1]):
            continue
        opened, close = prices.open.item(place + 1), prices.close.item(place)
        detail = f"open {opened:g} is {_times(opened, close)} the close {close:g} before it, as after a split"
        found.append(Misfit(place + 1, Rule.PRICE_JUMP, detail))
    return found


def _is_split(factor: FloatArray) -> bool:
    return bool((np.abs(factor / _SPLITS - 1) <= _SPLIT_TOLERANCE).any())


def _times(value: float, other: float) -> str:
    return f"{value / other:.3g} times" if value >= other else f"1/{other / value:.3g} of"
