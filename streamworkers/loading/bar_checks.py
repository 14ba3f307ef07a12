"""Checks the bars of a page of any provider one by one: a bar that cannot be right is rejected, the others are kept."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.loading.providers.provider import BarsRequest
from streamworkers.market.bars.bars import Bars, FloatArray, Mask
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import Reject, format_times
from streamworkers.market.calendar.windows import bounds_of, whole_windows

_ABSURD = 50.0  # times the price of both neighbours, which agree with each other
_AGREE = 5.0
_ABSURD_AT_END = 500.0  # the same for the first and the last bar, which may begin a move that lasts


def check_bars(request: BarsRequest, bars: Bars, after: int | None) -> tuple[Bars, list[Reject]]:
    """Return the good bars of a page in order of time, and the others with the rule that they break.

    `after` is the start of the last bar of the page before. Of several bars with one start the first is kept.
    """
    if not len(bars):
        return bars, []
    if (np.diff(bars.starts) < 0).any():
        bars = bars.at(np.argsort(bars.starts, kind="stable"))
    rejected: list[Reject] = []

    def keep(bars: Bars, good: Mask, rule: Rule, describe: Callable[[int], str]) -> Bars:
        for place in np.flatnonzero(~good).tolist():
            time = format_times(request.timeframe, bars.starts[place : place + 1])[0]
            detail = f"{request.symbol} at {time}: {describe(place)}"
            rejected.append(Reject(len(rejected) + 1, rule, detail, f"{request.symbol},{time}"))
        return bars.where(good)

    first, last = whole_windows(request.timeframe, request.first, request.last)
    begin, end = bounds_of(request.timeframe, first, last)
    bars = keep(
        bars,
        (bars.starts >= begin) & (bars.starts < end),
        Rule.OUT_OF_RANGE,
        lambda _: f"outside the range from {first} to {last} that was requested",
    )
    is_first = np.diff(bars.starts, prepend=bars.starts[:1] - 1) > 0
    bars = keep(bars, is_first, Rule.DUPLICATE, lambda _: "the answer has a bar of this time already; that is kept")
    if after is not None:
        bars = keep(bars, bars.starts > after, Rule.OUT_OF_ORDER, lambda _: "not after the bars of the page before")
    lows = np.minimum.reduce([bars.open, bars.high, bars.low, bars.close]) if len(bars) else bars.low
    bars = keep(bars, lows > 0, Rule.ZERO_PRICE, lambda _: "a price is 0")
    return keep(bars, _plausible(bars), Rule.ABSURD_PRICE, lambda place: _describe(bars, place)), rejected


def _plausible(bars: Bars) -> Mask:
    """Return a mask of the bars whose highs and lows are within reach of their neighbours' closes."""
    count = len(bars)
    good: Mask = np.ones(count, np.bool_)
    if count < 2:
        return good
    close = bars.close
    before, behind = np.roll(close, 1), np.roll(close, -1)
    # The neighbours of an end are the two bars beside it.
    before[0], behind[-1] = close[min(2, count - 1)], close[max(-3, -count)]
    agree = _ratio(before, behind) <= _AGREE
    limit = np.full(count, _ABSURD)
    limit[[0, -1]] = _ABSURD_AT_END
    # With neighbours that differ nobody knows which of the three is wrong.
    far = (_ratio(bars.high, before) > limit) | (_ratio(bars.low, before) > limit)
    good[far & agree] = False
    return good


def _ratio(one: FloatArray, other: FloatArray) -> NDArray[Any]:
    return np.maximum(one, other) / np.minimum(one, other)


def _describe(bars: Bars, place: int) -> str:
    other = bars.close[place - 1] if place else bars.close[1]
    values = [float(column[place]) for column in (bars.open, bars.high, bars.low, bars.close)]
    return f"prices {values} are out of all proportion to {float(other)} beside it"
