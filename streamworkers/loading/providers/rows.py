"""Builds the pages of a provider from rows of text."""

import numpy as np

from streamworkers.loading.providers.provider import BarsRequest, Page
from streamworkers.market.bars.bars import concat
from streamworkers.market.bars.text_rows import BarRows, parse_rows
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import bounds_of, whole_windows


def build_page(request: BarsRequest, timeframe: Timeframe, *parts: BarRows) -> Page:
    """Return the rows of a symbol in the requested range as one page, in order of time."""
    bars = concat([parse_rows(timeframe, rows) for rows in parts])
    begin, end = bounds_of(timeframe, *whole_windows(timeframe, request.first, request.last))
    inside = bars.where((bars.starts >= begin) & (bars.starts < end))
    # Of several rows for one time the first is kept, as in a file that is imported.
    _, places = np.unique(inside.starts, return_index=True)
    return Page(inside.at(places))
