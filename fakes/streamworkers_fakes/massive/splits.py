"""Splits of the fake's market, and by how much they adjust earlier prices."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Self

import numpy as np

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.bars import Floats, Ints

_SPLIT = re.compile(r"([^:]+):(\d{4}-\d\d-\d\d):([\d.]+):([\d.]+)")


@dataclass(frozen=True, slots=True)
class FakeSplit:
    """From `execution_date` on there are `split_to` shares for each `split_from`.

    Raises BadInputError for a part that is not above 0.
    """

    ticker: str
    execution_date: date
    split_from: float
    split_to: float

    def __post_init__(self) -> None:
        if not (0 < self.split_from < math.inf and 0 < self.split_to < math.inf):
            raise BadInputError(f"split of {self.ticker}: {self.split_from:g}:{self.split_to:g} has a part not above 0")

    @property
    def ratio(self) -> float:
        """Shares after the split for each before it."""
        return self.split_to / self.split_from


def parse_split(text: str) -> FakeSplit:
    """Parse a split written as `AAPL:2025-06-10:1:4`. Raises BadInputError for any other text."""
    found = _SPLIT.fullmatch(text)
    try:
        if found is not None:
            return FakeSplit(found[1], date.fromisoformat(found[2]), float(found[3]), float(found[4]))
    except ValueError:
        pass
    raise BadInputError(f"split {text!r} is not TICKER:YYYY-MM-DD:FROM:TO, as AAPL:2025-06-10:1:4")


class FakeSplits(tuple[FakeSplit, ...]):
    """All splits of a market, in order of their days."""

    __slots__ = ()

    def __new__(cls, splits: Iterable[FakeSplit] = ()) -> Self:
        """Sort them."""
        return super().__new__(cls, sorted(splits, key=lambda split: (split.execution_date, split.ticker)))

    def ratios(self, symbol: str, ordinals: Ints, until: date) -> Floats:
        """Return the divisors that adjust prices of days for the splits after each, up to `until`."""
        ratios = np.ones(len(ordinals))
        for split in self:
            if split.ticker == symbol and split.execution_date <= until:
                ratios[ordinals < split.execution_date.toordinal()] *= split.ratio
        return ratios

    def ratios_of(self, symbols: Sequence[str], ordinals: Ints, until: date) -> Floats:
        """Return those of one day for many symbols."""
        split = {split.ticker for split in self}
        return np.array([self.ratios(symbol, ordinals, until)[0] if symbol in split else 1.0 for symbol in symbols])
