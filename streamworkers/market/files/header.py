"""Finds the header of a file of bars: its line, its delimiter, its names and its layout."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamworkers.errors import BadInputError
from streamworkers.market.files.csv_lines import split_fields, word_csv_error
from streamworkers.market.files.layout import PRICES, Layout, normal_name
from streamworkers.market.files.layouts import layout_named, recognise
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.options import ReadOptions

_LINES_BEFORE = 10  # titles that some programs write above the header
_DELIMITERS = (",", "\t", "|", ";")
_YFINANCE_FIELDS = frozenset({*PRICES, "volume", "adj close", "dividends", "stock splits", "capital gains"})
_CORNERS = frozenset({"price", "ticker", ""})
_NUMBER = re.compile(r"[-+]?[0-9][0-9.,:/-]*")


@dataclass(frozen=True, slots=True)
class FileHeader:
    """The header of a file.

    `names` are those of its columns, numbers from 1 in a file without a header. `tickers` are the symbols of the
    columns of a wide file. `lines` are those before the first row.
    """

    layout: Layout
    delimiter: str
    names: tuple[str, ...]
    lines: int
    tickers: tuple[str, ...] | None = None


def read_header(path: Path, lines: Sequence[str], options: ReadOptions, notes: Notes) -> FileHeader:
    """Find the header in the first lines of a file. Raises BadInputError that names what is wrong with them."""
    named = None if options.layout is None else layout_named(options.layout)
    start, declared = _declared_delimiter(lines)
    if start >= len(lines):
        raise BadInputError(f"{path} has no header; its first line must name the columns")
    known = options.delimiter or declared or (named.delimiter if named else None)
    delimiter = known or _find_delimiter(path, lines[start:])
    wide = _read_wide(lines[start:], delimiter)
    start += 0 if wide is not None else _find_line(lines[start:], delimiter)
    names = _names(path, lines[start], delimiter)
    if len(names) > options.limits.columns:
        raise BadInputError(
            f"{path} has {len(names):,} columns, which exceeds"
            f" STREAMWORKERS_IMPORT_MAX_COLUMNS={options.limits.columns}"
        )
    if wide is not None:
        notes.add("layout", "yfinance, with its rows of header")
        return FileHeader(layout_named("yahoo"), delimiter, wide[0], start + wide[2], wide[1])
    layout = named or recognise(names, lines[start])
    if layout.name != "standard":
        notes.add("layout", f"{layout.name} ({layout.title})")
    if _is_row(layout, names, options):
        names, start = tuple(map(str, range(1, len(names) + 1))), start - 1
    return FileHeader(layout, delimiter, names, start + 1)


def _declared_delimiter(lines: Sequence[str]) -> tuple[int, str | None]:
    """Return how many lines come before the header, and the delimiter of Excel's first line `sep=;`."""
    start = next((place for place, line in enumerate(lines) if line.strip()), len(lines))
    found = re.fullmatch(r'"?sep=(.)"?', lines[start].strip(" "), re.IGNORECASE) if start < len(lines) else None
    return (start, None) if found is None else (start + 1, found[1])


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        return [normal_name(field) for field in split_fields(line, delimiter)]
    except csv.Error:
        return []


def _is_header(names: Sequence[str]) -> bool:
    return sum(any(price in name for name in names) for price in ("open", "high", "low")) >= 2


def _find_delimiter(path: Path, lines: Sequence[str]) -> str:
    for delimiter in _DELIMITERS:
        for line in lines[:_LINES_BEFORE]:
            names = _fields(line, delimiter)
            if len(names) >= 5 and _is_header(names):
                if delimiter == ";":
                    raise BadInputError(
                        f"the columns of {path} are separated by ';', not by ','; add --delimiter ';', and --decimal ,"
                        " if its numbers have a decimal comma (or --layout excel_european)"
                    )
                return delimiter
    first = lines[0]
    if ";" in first and first.count(";") > first.count(","):
        raise BadInputError(
            f"the columns of {path} are separated by ';', not by ','; add --delimiter ';', and name them with"
            " --columns or in the first line"
        )
    return "\t" if "\t" in first and "," not in first else ","


def _find_line(lines: Sequence[str], delimiter: str) -> int:
    """Return the place of the header among the first lines; 0 if none looks like one."""
    for place, line in enumerate(lines[:_LINES_BEFORE]):
        if _is_header(_fields(line, delimiter)):
            return place
    return 0


def _names(path: Path, line: str, delimiter: str) -> tuple[str, ...]:
    try:
        return tuple(normal_name(name) for name in split_fields(line, delimiter))
    except csv.Error as error:
        raise BadInputError(f"the quotes of the header of {path} do not match: {word_csv_error(error)}") from error


def _is_row(layout: Layout, names: Sequence[str], options: ReadOptions) -> bool:
    """True if the line of the header is a row: its layout has no header, or columns are given by number alone."""
    numbered = bool(options.columns) and all(column.isdigit() for column in options.columns.values())
    if layout.line is None and not numbered:
        return False
    return sum(_NUMBER.fullmatch(name) is not None for name in names) >= min(4, len(names))


def _read_wide(lines: Sequence[str], delimiter: str) -> tuple[tuple[str, ...], tuple[str, ...], int] | None:
    """Return names, tickers and the number of lines of yfinance's header of two or three rows, or None."""
    if len(lines) < 2:
        return None
    first, second = ([field.strip() for field in line.split(delimiter)] for line in lines[:2])
    if {first[0].lower(), second[0].lower()} - _CORNERS or len(first) != len(second) or len(first) < 5:
        return None
    for fields, tickers in ((first, second), (second, first)):
        lowered = [field.lower() for field in fields[1:]]
        if set(lowered) <= _YFINANCE_FIELDS and not set(map(str.lower, tickers[1:])) <= _YFINANCE_FIELDS:
            third = lines[2].split(delimiter)[0].strip().lower() if len(lines) > 2 else ""
            count = 3 if third in ("date", "datetime") else 2
            return ("date", *lowered), ("", *tickers[1:]), count
    return None
