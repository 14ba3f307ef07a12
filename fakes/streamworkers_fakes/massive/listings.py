"""Symbols that are not listed and traded all the time: since when, until when, how often, and under which name."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime

import numpy as np

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive.bars import FakeBars
from streamworkers_fakes.massive.trading_days import midnight_ms

_CORRECTION = re.compile(r"([^:]+):(\d{4}-\d\d-\d\d):([\d.]+):(.+)")


@dataclass(frozen=True, slots=True)
class FakeRename:
    """From `day` on, the shares of `old` trade under `new`."""

    old: str
    new: str
    day: date


@dataclass(frozen=True, slots=True)
class FakeCorrection:
    """From the aware moment `known_at` on, the close of a day is another: multiplied by `factor`, inside its range."""

    ticker: str
    day: date
    factor: float
    known_at: datetime

    def __post_init__(self) -> None:
        if not 0 < self.factor < math.inf or self.known_at.tzinfo is None:
            raise BadInputError(f"correction of {self.ticker}: the factor is not above 0, or the moment has no offset")


@dataclass(frozen=True, slots=True)
class FakeListings:
    """Days of listing and of the last trade, the share of days on which thin symbols trade, renames, 24/7 symbols.

    Raises BadInputError for a share beyond 0 to 1.
    """

    listed_from: Mapping[str, date] = field(default_factory=dict)
    delisted_after: Mapping[str, date] = field(default_factory=dict)
    thin: Mapping[str, float] = field(default_factory=dict)
    renames: tuple[FakeRename, ...] = ()
    always_open: frozenset[str] = frozenset()
    corrections: tuple[FakeCorrection, ...] = ()

    def __post_init__(self) -> None:
        for symbol, share in self.thin.items():
            if not 0 < share <= 1:
                raise BadInputError(f"thin {symbol}: the share {share:g} is not above 0 and up to 1")

    def correct(self, symbol: str, days: FakeBars, now: datetime | None) -> FakeBars:
        """Return the days of a symbol with the corrections that are known at `now`, or all."""
        close = days.close
        for correction in self.corrections:
            if correction.ticker == symbol and (now is None or correction.known_at <= now):
                is_day = days.start_ms == midnight_ms(correction.day)
                other = np.rint(days.close * correction.factor * 100) / 100
                close = np.where(is_day, np.clip(other, days.low, days.high), close)
        return replace(days, close=close)

    def first_day(self, symbol: str) -> date:
        """Return the first day on which a symbol may trade."""
        begins = [rename.day for rename in self.renames if rename.new == symbol]
        return max([self.listed_from.get(symbol, date.min), *begins])

    def last_day(self, symbol: str) -> date:
        """Return the last day on which a symbol may trade."""
        ends = [date.fromordinal(rename.day.toordinal() - 1) for rename in self.renames if rename.old == symbol]
        return min([self.delisted_after.get(symbol, date.max), *ends])

    def family(self, symbol: str) -> str:
        """Return the first name of the shares: renamed shares keep their prices."""
        for rename in self.renames:
            if rename.new == symbol:
                return self.family(rename.old)
        return symbol


def parse_days(option: str, texts: Iterable[str]) -> dict[str, date]:
    """Parse texts such as `AAPL:2025-11-24`. Raises BadInputError that names the option."""
    found = {}
    for text in texts:
        symbol, _, day = text.rpartition(":")
        try:
            if not symbol:
                raise ValueError(text)
            found[symbol] = date.fromisoformat(day)
        except ValueError:
            raise BadInputError(f"{option} {text!r} is not SYMBOL:YYYY-MM-DD") from None
    return found


def parse_shares(texts: Iterable[str]) -> dict[str, float]:
    """Parse texts such as `THIN:0.2`. Raises BadInputError."""
    found = {}
    for text in texts:
        symbol, _, share = text.rpartition(":")
        try:
            if not symbol:
                raise ValueError(text)
            found[symbol] = float(share)
        except ValueError:
            raise BadInputError(f"--thin {text!r} is not SYMBOL:SHARE, as THIN:0.2") from None
    return found


def parse_rename(text: str) -> FakeRename:
    """Parse a rename written as `FB:META:2022-06-09`. Raises BadInputError."""
    old, _, rest = text.partition(":")
    new, _, day = rest.rpartition(":")
    try:
        if not (old and new):
            raise ValueError(text)
        return FakeRename(old, new, date.fromisoformat(day))
    except ValueError:
        raise BadInputError(f"--rename {text!r} is not OLD:NEW:YYYY-MM-DD") from None


def parse_correction(text: str) -> FakeCorrection:
    """Parse a correction written as `AAPL:2025-11-20:1.01:2025-11-25T12:00-05:00`. Raises BadInputError."""
    found = _CORRECTION.fullmatch(text)
    try:
        if found is not None:
            return FakeCorrection(
                found[1], date.fromisoformat(found[2]), float(found[3]), datetime.fromisoformat(found[4])
            )
    except ValueError:
        pass
    raise BadInputError(f"--correct {text!r} is not SYMBOL:YYYY-MM-DD:FACTOR:MOMENT")
