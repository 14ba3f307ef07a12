"""What a layout is: how one kind of file names its columns, writes times and numbers, and is recognised."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from streamworkers.market.bars.numbers import DecimalMark
from streamworkers.market.bars.time_text import DateOrder, EpochUnit

Columns = Mapping[str, tuple[str, ...]]

PRICES = ("open", "high", "low", "close")
TIME_COLUMNS = ("date", "timestamp", "datetime", "time", "dtyyyymmdd")
OHLC: Columns = {name: (name,) for name in PRICES}
_NOTHING: Mapping[str, frozenset[str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Layout:
    """One kind of file.

    `columns` are the names of each field, the preferred ones first: symbol, time, clock (a time of day that belongs to
    a date), open, high, low, close, volume, adjusted (the adjusted close), adjusted_open and so on. Headerless layouts
    have a `line` that their first line matches, and numbers for names, from 1. `symbol_in_name` finds the symbol in a
    file's name. `zone` is that of times without one, and `calendar` the one that days are judged by: one that never
    closes for layouts in which any market is exported. Rows are left out whose value in a column of `keeps` is not one
    of the named ones.
    """

    name: str
    title: str
    columns: Columns
    signature: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    line: re.Pattern[str] | None = None
    delimiter: str = ","
    decimal: DecimalMark = "."
    order: DateOrder | None = None
    unit: EpochUnit | None = None
    zone: str | None = None
    calendar: str | None = None
    symbol_in_name: re.Pattern[str] | None = None
    date_in_name: re.Pattern[str] | None = None
    keeps: Mapping[str, frozenset[str]] = field(default_factory=lambda: _NOTHING)
    recognised: bool = True


def normal_name(name: str) -> str:
    """Return the name of a column as layouts have it."""
    return " ".join(name.replace("<", " ").replace(">", " ").lower().split())
