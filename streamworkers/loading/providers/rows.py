"""From rows of text to the pages of a provider."""

import numpy as np

from streamworkers.loading.providers.provider import Asked, Page
from streamworkers.market.bars.bars import concat
from streamworkers.market.bars.text_rows import BarRows, parse_rows
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.calendar.windows import bounds_of, whole_windows


def page_of(asked: Asked, timeframe: Timeframe, *parts: BarRows) -> Page:
    """The rows of a symbol that are in the asked range, in order of time, as one page."""
    bars = concat([parse_rows(timeframe, rows) for rows in parts])
    begin, end = bounds_of(timeframe, *whole_windows(timeframe, asked.first, asked.last))
    inside = bars.where((bars.starts >= begin) & (bars.starts < end))
    # Of several rows for one time the first counts, as in a file that is imported.
    _, places = np.unique(inside.starts, return_index=True)
    return Page(inside.at(places))
