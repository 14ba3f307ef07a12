"""Makes wider bars of narrower ones, such as hours of minutes."""

from collections.abc import Callable

import numpy as np

from streamworkers.market.bars.bars import NO_BARS, UNKNOWN_VOLUME, Bars, Starts, concat


class Aggregator:
    """Merges bars that arrive in parts, in order, into one bar for each window.

    `window` maps the starts of narrow bars to the starts of the wide bars that contain them. Open is the first, close
    the last, high and low the extremes, volume the sum, which is not known unless every volume is.
    """

    def __init__(self, window: Callable[[Starts], Starts]) -> None:
        self._window = window
        self._held: Bars = NO_BARS

    def add(self, bars: Bars) -> Bars:
        """Return the wide bars that are complete, because a bar of a later window has arrived."""
        if not len(bars):
            return NO_BARS
        bars = concat([self._held, bars])
        starts = self._window(bars.starts)
        cut = int(np.searchsorted(starts, starts[-1]))
        self._held = bars.at(slice(cut, None))
        return _merge(bars.at(slice(cut)), starts[:cut])

    def finish(self) -> Bars:
        """Return the last wide bar, which no later bar has completed."""
        bars, self._held = self._held, NO_BARS
        return _merge(bars, self._window(bars.starts))


def _merge(bars: Bars, starts: Starts) -> Bars:
    """Merge neighbouring bars with the same start in `starts`."""
    if not len(bars):
        return NO_BARS
    begins = np.concatenate(([0], np.flatnonzero(np.diff(starts)) + 1))
    ends = np.append(begins[1:], len(bars)) - 1
    volume = np.add.reduceat(bars.volume, begins)
    unknown = bars.volume == UNKNOWN_VOLUME
    if unknown.any():
        volume[np.logical_or.reduceat(unknown, begins)] = UNKNOWN_VOLUME
    return Bars(
        starts[begins].view(bars.times.dtype),
        bars.open[begins],
        np.maximum.reduceat(bars.high, begins),
        np.minimum.reduceat(bars.low, begins),
        bars.close[ends],
        volume,
    )
