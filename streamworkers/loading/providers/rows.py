"""Builds the pages of a provider from rows of text."""

import numpy as np

from streamworkers.loading.providers.provider import BarsRequest, Page
from streamworkers.market.bars.bars import Bars, concat
from streamworkers.market.bars.text_rows import BarRows, parse_rows
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import bounds_of, whole_windows


def build_page(request: BarsRequest, timeframe: Timeframe, *parts: BarRows) -> Page:
    """Return the rows of a symbol in the requested range as one page, in order of time."""
    return Page(cut_range(request, timeframe, order_rows(timeframe, *parts)))


def order_rows(timeframe: Timeframe, *parts: BarRows) -> Bars:
    """Return the rows of a symbol in order of time; of several for one time the last, as in a file that is imported."""
    bars = concat([parse_rows(timeframe, rows) for rows in parts])
    _, places = np.unique(bars.starts[::-1], return_index=True)
    return bars.at(len(bars) - 1 - places)


def cut_range(request: BarsRequest, timeframe: Timeframe, bars: Bars) -> Bars:
    """Return the bars in the requested range."""
    begin, end = bounds_of(timeframe, *whole_windows(timeframe, request.first, request.last))
    return bars.where((bars.starts >= begin) & (bars.starts < end))
