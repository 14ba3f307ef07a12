"""Where the fields of a bar stand in the rows of a file, and what has to be done to them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from streamworkers.errors import BadInputError
from streamworkers.market.bars.numbers import MISSING_WORDS, NumberStyle
from streamworkers.market.bars.rules import is_symbol
from streamworkers.market.bars.time_text import TimeSpelling, find_order, find_unit, to_strptime
from streamworkers.market.files.header import FileHeader
from streamworkers.market.files.layout import PRICES, TIME_COLUMNS, normal_name
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.options import ReadOptions, stem_of

_PLAIN_SYMBOL = re.compile(r"[A-Z][A-Z0-9.^=-]{0,14}")
_STANDARD_NAMES = "symbol, date, open, high, low, close, volume"
_MANY_NAMES = 200


@dataclass(frozen=True, slots=True)
class BarColumns:
    """The places of the fields of one bar in a row.

    `symbol` is the place of the symbol, or the symbol itself; `time` that of the time, or the date itself. `adjusted`
    is the place of the adjusted close by which prices are multiplied.
    """

    symbol: int | str
    time: int | str
    clock: int | None
    prices: tuple[int, int, int, int]
    volume: int | None
    adjusted: int | None = None


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How the rows of a file become bars: several for each row in a wide file."""

    width: int
    delimiter: str
    bars: tuple[BarColumns, ...]
    spelling: TimeSpelling
    style: NumberStyle
    keeps: tuple[tuple[int, str, frozenset[str]], ...] = ()
    is_wide: bool = False


class _Planner:
    """Finds the columns of one file; `sample` are the fields of its first rows."""

    def __init__(
        self, path: Path, header: FileHeader, options: ReadOptions, sample: Sequence[Sequence[str]], notes: Notes
    ) -> None:
        self.path, self.header, self.options, self.sample, self.notes = path, header, options, sample, notes
        self.layout = header.layout
        given = {
            "clock" if name == "time" and "date" in options.columns else name: column
            for name, column in options.columns.items()
        }
        self.given = {("time" if name == "date" else name): column for name, column in given.items()}

    def narrow(self, default_symbol: str | None) -> BarColumns:
        """Return the columns of a file with one bar in each row."""
        self._require(default_symbol)
        time = self._find("time")
        prices = tuple(self._price(name) for name in PRICES)
        return BarColumns(
            symbol=self._symbol(default_symbol),
            time=self._date_in_name() if time is None else time,
            clock=None if self._find("clock") == time else self._find("clock"),
            prices=(prices[0], prices[1], prices[2], prices[3]),
            volume=self._volume(),
            adjusted=self._factor(),
        )

    def wide(self) -> Iterator[BarColumns]:
        """Yield the columns of each symbol of a wide file."""
        assert self.header.tickers is not None
        for ticker in dict.fromkeys(self.header.tickers[1:]):
            places = {
                name: place
                for place, (name, owner) in enumerate(zip(self.header.names, self.header.tickers, strict=True))
                if owner == ticker
            }
            missing = [name for name in PRICES if name not in places]
            if missing:
                raise BadInputError(f"{self.path} has no column {', '.join(missing)} of {ticker}")
            adjusted = places.get("adj close")
            self._note_prices(None if adjusted is None else "adj close")
            prices = tuple(places[name] for name in PRICES)
            yield BarColumns(
                ticker,
                0,
                None,
                (prices[0], prices[1], prices[2], prices[3]),
                places.get("volume"),
                adjusted if self.options.adjusted else None,
            )

    def keeps(self) -> tuple[tuple[int, str, frozenset[str]], ...]:
        """Return the columns whose values decide which rows are bars."""
        names = self.header.names
        return tuple((names.index(name), name, values) for name, values in self.layout.keeps.items() if name in names)

    def spelling(self, places: Sequence[BarColumns]) -> TimeSpelling:
        """Return how the times are written, as options and layout say, and as the first rows show."""
        options, layout = self.options, self.layout
        texts = [row[each.time] for row in self.sample for each in places[:1] if isinstance(each.time, int)]
        order = layout.order or find_order(texts)
        if layout.order is None and order is not None:
            self.notes.add("dates", f"{'month/day' if order == 'MDY' else 'day/month'}, as the first rows show")
        units = {unit for text in texts if (unit := find_unit(text)) is not None}
        unit = options.time_unit or layout.unit
        if units:
            shown = unit or " or ".join(sorted(units))
            self.notes.add("times", f"numbers of {shown} since 1970")
        date_format = None if options.date_format is None else to_strptime(options.date_format)
        return TimeSpelling(date_format, unit, units.pop() if len(units) == 1 else None, order)

    def _require(self, default_symbol: str | None) -> None:
        """Raise BadInputError for columns that are missing, or that could be one of two."""
        names = self.header.names
        times = [name for name in names if name in TIME_COLUMNS]
        if (
            self.layout.name == "standard"
            and "time" not in self.given
            and len(times) > 1
            and ("time" not in times or len(times) > 2)
        ):
            raise BadInputError(f"{self.path} has more than one time column: {', '.join(times)}; keep one")
        missing = [name for name in PRICES if self._find(name) is None]
        if self._find("time") is None and self.layout.date_in_name is None:
            missing.insert(0, "date")
        if missing:
            raise BadInputError(
                f"{self.path} has no column {', '.join(missing)}; its first line must name {_STANDARD_NAMES} and names"
                f" {', '.join(names)[:_MANY_NAMES]!r}{self._hint()}"
            )
        used = {
            names[place] for name in ("symbol", "time", *PRICES, "volume") if (place := self._find(name)) is not None
        }
        twice = [name for name in names if name in used and names.count(name) > 1]
        if twice:
            raise BadInputError(f"{self.path} has the column {twice[0]} more than once")
        del default_symbol

    def _hint(self) -> str:
        digits = sum(name[:1].isdigit() for name in self.header.names)
        if digits >= 4:
            return "; it has no header: name its layout with --layout, or its columns with --columns date=1,open=2,…"
        return "; other names are given with --columns"

    def _find(self, name: str) -> int | None:
        names = self.header.names
        if name in self.given:
            wanted = normal_name(self.given[name])
            if wanted in names:
                return names.index(wanted)
            if wanted.isdigit() and 1 <= int(wanted) <= len(names):
                return int(wanted) - 1
            raise BadInputError(
                f"{self.path} has no column {self.given[name]!r}; it has {', '.join(names)[:_MANY_NAMES]!r}"
            )
        wanted_names = self.layout.columns.get(name, ())
        return next((names.index(each) for each in wanted_names if each in names), None)

    def _symbol(self, default: str | None) -> int | str:
        place = self._find("symbol")
        if place is not None:
            if self.options.symbol is not None:
                raise BadInputError(
                    f"{self.path} has a column {self.header.names[place]!r} of symbols; --symbol is for files without"
                )
            return place
        if (given := self.options.symbol or default) is not None:
            return given
        stem = stem_of(self.path)
        pattern = self.options.symbol_in_name
        if pattern is not None and not (found := pattern.fullmatch(stem)):
            raise BadInputError(f"the name {stem!r} of {self.path} does not fit --symbol-from-name")
        for each in (pattern, self.layout.symbol_in_name, _PLAIN_SYMBOL):
            if each is not None and (found := each.fullmatch(stem)):
                symbol = found["symbol"] if "symbol" in each.groupindex else found[0]
                self.notes.add("symbol", f"{symbol}, from the file's name")
                return symbol
        raise BadInputError(
            f"{self.path} has no column symbol, and its name is no symbol; add --symbol, or --symbol-from-name with a"
            " pattern such as '{symbol}_*'"
        )

    def _date_in_name(self) -> str:
        assert self.layout.date_in_name is not None
        found = self.layout.date_in_name.search(stem_of(self.path))
        if found is None:
            raise BadInputError(f"{self.path} has no column of dates, and its name has no date, as in EQ241126.CSV")
        day = f"20{found['year']}-{found['month']}-{found['day']}"
        self.notes.add("date", f"{day}, from the file's name")
        return day

    def _price(self, name: str) -> int:
        adjusted = self._find(f"adjusted_{name}") if self.options.adjusted and name not in self.given else None
        place = self._find(name) if adjusted is None else adjusted
        assert place is not None
        return place

    def _factor(self) -> int | None:
        """Return the place of the adjusted close if prices have to be multiplied."""
        adjusted = self._find("adjusted")
        self._note_prices(None if adjusted is None else self.header.names[adjusted])
        if self.options.adjusted and self._find("adjusted_open") is None:
            return adjusted
        return None

    def _note_prices(self, adjusted: str | None) -> None:
        if adjusted is None:
            if self.options.adjusted:
                raise BadInputError(
                    f"{self.path} has no column of adjusted prices, such as Adj Close; leave out --adjusted"
                )
            return
        if self.options.adjusted:
            self.notes.add("prices", f"adjusted, by the column {adjusted!r}")
        else:
            self.notes.add("prices", f"as they stand, not adjusted by the column {adjusted!r} (--adjusted does that)")

    def _volume(self) -> int | None:
        names = self.header.names
        if "volume" in self.given:
            return self._find("volume")
        if self.options.adjusted and (adjusted := self._find("adjusted_volume")) is not None:
            return adjusted
        places = [names.index(name) for name in self.layout.columns.get("volume", ()) if name in names]
        if not places:
            self.notes.add("volume", "not known, because there is no column of it")
            return None
        filled = [place for place in places if any(row[place].strip(" 0.") for row in self.sample)]
        place = (filled or places)[0]
        if len(places) > 1:
            others = ", ".join(names[other] for other in places if other != place)
            why = f"because {others} is 0" if filled and places[0] != place else f"not {others}"
            self.notes.add("volume", f"the column {names[place]!r}, {why}")
        return place


def make_plan(
    path: Path,
    header: FileHeader,
    options: ReadOptions,
    sample: Sequence[Sequence[str]],
    default_symbol: str | None,
    notes: Notes,
) -> RowPlan:
    """Decide how the rows below a header are read; `sample` are the fields of some of them.

    `default_symbol` is that of a file without a column of symbols. Raises BadInputError for a column that is missing or
    ambiguous, and for a file that does not say its symbol.
    """
    whole = [row for row in sample if len(row) >= len(header.names)]
    planner = _Planner(path, header, options, whole, notes)
    bars = (planner.narrow(default_symbol),) if header.tickers is None else tuple(planner.wide())
    for each in bars:
        if isinstance(each.symbol, str) and not is_symbol(each.symbol):
            raise BadInputError(f"{each.symbol!r} in {path} is not a symbol")
    decimal = options.decimal or header.layout.decimal
    style = NumberStyle(decimal, grouped=header.delimiter == "," or options.decimal is not None or decimal == ",")
    if header.delimiter != ",":
        notes.add("delimiter", {"\t": "tab"}.get(header.delimiter, header.delimiter))
    plan = RowPlan(len(header.names), header.delimiter, bars, planner.spelling(bars), style)
    return replace(plan, keeps=planner.keeps(), is_wide=header.tickers is not None)


def adjust_prices(prices: Sequence[Sequence[str]], adjusted: Sequence[str], style: NumberStyle) -> list[list[str]]:
    """Return open, high, low and close multiplied by adjusted close / close.

    A row whose factor cannot be computed gets the text of its adjusted close for every price, which no rule accepts.
    """
    rows = [_adjust_row(row, text, style) for *row, text in zip(*prices, adjusted, strict=True)]
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[], [], [], []]


def _adjust_row(prices: Sequence[str], adjusted: str, style: NumberStyle) -> tuple[str, ...]:
    numbers = [style.read(text.strip()) for text in (*prices, adjusted)]
    values = [float(number) for number in numbers if number is not None]
    if len(values) < len(numbers) or values[3] <= 0 or values[4] <= 0:
        return (adjusted if adjusted.strip().lower() in MISSING_WORDS or numbers[4] is None else "not adjustable",) * 4
    factor = values[4] / values[3]
    decimal = style.decimal
    texts = (str(numbers[4]) if value == values[3] else f"{value * factor:.10g}" for value in values[:4])
    return tuple(text.replace(".", decimal) for text in texts)
