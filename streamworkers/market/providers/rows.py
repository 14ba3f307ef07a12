"""From rows of text to the pages of a provider."""

import numpy as np

from streamworkers.market.bar_arrays import NO_BARS, BarArrays, arrays_of_rows, joined
from streamworkers.market.bar_rows import BarRows
from streamworkers.market.providers.provider import Asked, Page
from streamworkers.market.timeframes import Timeframe, bar_moment
from streamworkers.market.windows import day_of, days_since_epoch, whole_windows


def page_of(asked: Asked, timeframe: Timeframe, *parts: BarRows) -> Page:
    """The rows of a symbol that are in the asked range, in order of time, as one page."""
    bars = joined([arrays_of_rows(timeframe, rows) for rows in parts]) if parts else NO_BARS
    first, last = (days_since_epoch(day) for day in whole_windows(timeframe, asked.first, asked.last))
    bounds = first, last + 1
    if timeframe.intraday:
        midnights = [bar_moment(timeframe, day_of(day)).timestamp() for day in bounds]
        bounds = round(midnights[0] * 1000), round(midnights[1] * 1000)
    inside = bars.where((bars.starts >= bounds[0]) & (bars.starts < bounds[1]))
    # Of several rows for one time the first counts, as in a file that is imported.
    _, places = np.unique(inside.starts, return_index=True)
    return Page(BarArrays(*(getattr(inside, name)[places] for name in BarArrays.__slots__)))
