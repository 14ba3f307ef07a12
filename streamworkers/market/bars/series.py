"""The bars of one symbol as arrays, the form in which analysis takes them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.errors import BadInputError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BarSeries:
    """Closed bars of one symbol in one timeframe, oldest first; all arrays have the same length.

    `times` are starts of bars as datetime64[us]: UTC for 1min and hour, the bare date for day, week and month.
    Prices and volume are contiguous float64, as TA-Lib takes them.
    """

    symbol: str
    times: NDArray[np.datetime64]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __len__(self) -> int:
        return len(self.close)

    def require_valid(self) -> None:
        """Raise BadInputError where a value is not finite or times do not strictly increase.

        One NaN inside a series makes TA-Lib's RSI 0.0 from there on, so nothing is computed from such bars.
        """
        for name in ("open", "high", "low", "close", "volume"):
            values: NDArray[Any] = getattr(self, name)
            bad = np.flatnonzero(~np.isfinite(values))
            if bad.size:
                index = int(bad[0])
                raise BadInputError(
                    f"{name} of {self.symbol} at {self.times[index]} is {values[index]}, not a finite number"
                )
        disorder = np.flatnonzero(np.diff(self.times) <= np.timedelta64(0, "us"))
        if disorder.size:
            index = int(disorder[0])
            raise BadInputError(
                f"bars of {self.symbol} do not increase in time:"
                f" {self.times[index]} comes before {self.times[index + 1]}"
            )
