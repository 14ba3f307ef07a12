"""From rows of text to the pages of a provider."""

import numpy as np

from streamworkers.loading.providers.provider import Asked, Page
from streamworkers.market.bars.arrays import NO_BARS, arrays_of_rows, joined
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import bounds_of, whole_windows


def page_of(asked: Asked, timeframe: Timeframe, *parts: BarRows) -> Page:
    """The rows of a symbol that are in the asked range, in order of time, as one page."""
    bars = joined([arrays_of_rows(timeframe, rows) for rows in parts]) if parts else NO_BARS
    begin, end = bounds_of(timeframe, *whole_windows(timeframe, asked.first, asked.last))
    inside = bars.where((bars.starts >= begin) & (bars.starts < end))
    # Of several rows for one time the first counts, as in a file that is imported.
    _, places = np.unique(inside.starts, return_index=True)
    return Page(inside.at(places))
