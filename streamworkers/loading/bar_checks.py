"""Checks the bars of a page of any provider one by one: a bar that cannot be right is rejected, the others are kept."""

from collections.abc import Callable

import numpy as np

from streamworkers.loading.providers.provider import BarsRequest
from streamworkers.market.bars.bars import Bars, Mask
from streamworkers.market.bars.neighbours import NEWEST_SPIKE_FACTOR, find_spikes
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import PriceColumns, Reject, format_times
from streamworkers.market.calendar.windows import bounds_of, whole_windows


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
    prices = PriceColumns(bars.open, bars.high, bars.low, bars.close)
    spikes = {spike.place: spike for spike in find_spikes(prices, NEWEST_SPIKE_FACTOR)}
    fits: Mask = np.ones(len(bars), np.bool_)
    fits[list(spikes)] = False
    return keep(bars, fits, Rule.PRICE_SPIKE, lambda place: spikes[place].detail), rejected
