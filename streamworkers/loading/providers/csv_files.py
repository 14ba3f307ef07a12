"""The provider `csv`: bars of files in the layouts and with the rules of `bars import`.

`STREAMWORKERS_CSV_PATH` is a path with `{symbol}` or `{timeframe}` in it, or a folder, which means
`{timeframe}/{symbol}.csv` in that folder. The file of one symbol needs no column `symbol`, and the name of a file may
end in `.gz`. A file of many symbols, whose path has no `{symbol}`, is read once by each worker and sorted by symbol.
"""

import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, ClassVar

import numpy as np

from streamworkers.config import Settings
from streamworkers.errors import BadInputError, UsageError
from streamworkers.loading.providers.provider import UNCOUNTED, BarsRequest, Calls, Page, Provider, UnsupportedError
from streamworkers.loading.providers.rows import cut_range, order_rows
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.neighbours import find_misfits
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import BarRows, PriceColumns, Reject
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.files.options import ReadOptions

_FOLDER_LAYOUT = "{timeframe}/{symbol}.csv"
_FIELDS = 7


class CsvFiles(Provider):
    """Reads bars from CSV files; it has the timeframes whose files exist."""

    name: ClassVar[str] = "csv"
    native: ClassVar[frozenset[str]] = frozenset(TIMEFRAMES)

    def __init__(self, settings: Settings, calls: Calls = UNCOUNTED) -> None:
        super().__init__(settings, calls)
        if settings.csv_path is None:
            raise UsageError("the provider csv needs a folder, a file or a path in STREAMWORKERS_CSV_PATH")
        template = settings.csv_path
        if "{" not in template and Path(template).is_dir():
            template = str(Path(template) / _FOLDER_LAYOUT)
        _require_usable(template)
        self._template = template
        self._options = ReadOptions(judges_sessions=False, limits=FileLimits.of(settings))
        self._files: dict[tuple[Path, str], _SortedFile] = {}
        self._lock = threading.Lock()

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        """Yield one page; rows that break a rule are rejected with their line."""
        del cursor
        path = self._path(request)
        try:
            if "{symbol}" in self._template:
                parts, rejected = _read_one(path, request.timeframe, request.symbol, self._options)
            else:
                parts, rejected = self._open_sorted(path, request.timeframe).read(request.symbol)
        except BadInputError as error:
            raise UnsupportedError(str(error)) from None
        except (OSError, EOFError, zlib.error) as error:
            raise UnsupportedError(f"{path} cannot be read: {error}") from None
        bars, spikes = _without_spikes(request.symbol, order_rows(request.timeframe, *parts))
        yield Page(cut_range(request, request.timeframe, bars), [*rejected, *spikes])

    def close(self) -> None:
        """Close the files that were opened."""
        for file in self._files.values():
            file.close()

    def _path(self, request: BarsRequest) -> Path:
        if "/" in request.symbol or request.symbol.startswith("."):
            raise UnsupportedError(f"the symbol {request.symbol!r} is not a file name")
        path = _fill_in(self._template, request.symbol, request.timeframe.name)
        for candidate in (path, path.with_name(f"{path.name}.gz")):
            if candidate.is_file():
                return candidate
        raise UnsupportedError(f"there is no file {path} or {path.name}.gz")

    def _open_sorted(self, path: Path, timeframe: Timeframe) -> "_SortedFile":
        key = path, timeframe.name
        with self._lock:
            if key not in self._files or not self._files[key].is_current(path):
                self._files[key] = _SortedFile(path, timeframe, self._options)
            return self._files[key]


def _fill_in(template: str, symbol: str, timeframe: str) -> Path:
    """Return the path of the bars of a symbol. Raises UsageError for a template with other names."""
    try:
        return Path(template.format(symbol=symbol, timeframe=timeframe))
    except (KeyError, IndexError, ValueError, AttributeError, TypeError):
        raise UsageError(
            f"STREAMWORKERS_CSV_PATH={template!r}: only {{symbol}} and {{timeframe}} are allowed in braces"
        ) from None


def _require_usable(template: str) -> None:
    """Raise UsageError if there cannot be bars of any symbol: it concerns every item of a run."""
    path = _fill_in(template, "A", "day")
    fixed = Path(template.partition("{")[0] + "x").parent if "{" in template else path.parent
    if not fixed.is_dir():
        raise UsageError(f"STREAMWORKERS_CSV_PATH={template!r}: there is no folder {fixed}")
    if "{" not in template and not any(each.is_file() for each in (path, path.with_name(f"{path.name}.gz"))):
        raise UsageError(f"STREAMWORKERS_CSV_PATH={template!r}: there is no file {path} or {path.name}.gz")


def _without_spikes(symbol: str, bars: Bars) -> tuple[Bars, list[Reject]]:
    """Reject bars that do not fit their neighbours, as `bars import` does."""
    misfits = find_misfits(PriceColumns(bars.open, bars.high, bars.low, bars.close))
    spikes = [each for each in misfits if each.rule == Rule.PRICE_SPIKE]
    fits = np.ones(len(bars), np.bool_)
    fits[[spike.place for spike in spikes]] = False
    rejects = [Reject(0, spike.rule, f"{symbol} at {bars.times[spike.place]}: {spike.detail}", "") for spike in spikes]
    return bars.where(fits), rejects


def _read_one(
    path: Path, timeframe: Timeframe, symbol: str, options: ReadOptions
) -> tuple[list[BarRows], list[Reject]]:
    parts: list[BarRows] = []
    rejected: list[Reject] = []
    for chunk in read_bars_file(path, timeframe, symbol=symbol, options=options):
        others = set(chunk.rows.symbols) - {symbol}
        if others:
            raise BadInputError(f"{path} holds bars of {sorted(others)[0]!r}, not only of {symbol!r}")
        parts.append(chunk.rows)
        rejected += chunk.rejects
    return parts, rejected


class _SortedFile:
    """The valid rows of a file, sorted by symbol in an unnamed file, and the rejected rows of all symbols."""

    def __init__(self, path: Path, timeframe: Timeframe, options: ReadOptions) -> None:
        self._stamp = _stamp(path)
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115  # closed by close()
        self._places: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._rejected: list[Reject] = []
        self._lock = threading.Lock()
        for chunk in read_bars_file(path, timeframe, options=options):
            self._rejected += chunk.rejects
            self._add(chunk.rows)

    def is_current(self, path: Path) -> bool:
        """True while the file has not changed."""
        return _stamp(path) == self._stamp

    def read(self, symbol: str) -> tuple[list[BarRows], list[Reject]]:
        """Return the rows of a symbol, and the rejected rows that name it."""
        with self._lock:
            texts = []
            for place, length in self._places.get(symbol, ()):
                self._file.seek(place)
                texts.append(self._file.read(length).decode())
        return [_parse_rows(symbol, text) for text in texts], [
            row for row in self._rejected if symbol in row.row.split(",")
        ]

    def close(self) -> None:
        """Delete the rows that were kept on disk."""
        self._file.close()

    def __del__(self) -> None:
        # A file that has changed is not closed at once, because another thread may still read it.
        self._file.close()

    def _add(self, rows: BarRows) -> None:
        columns = (rows.times, rows.open, rows.high, rows.low, rows.close, rows.volume)
        lines = map("\t".join, zip(map(str, rows.lines), *columns, strict=True))
        for symbol, group in groupby(zip(rows.symbols, lines, strict=True), key=lambda pair: pair[0]):
            packed = "\n".join(line for _, line in group).encode()
            self._places[symbol].append((self._file.tell(), len(packed)))
            self._file.write(packed)


def _parse_rows(symbol: str, text: str) -> BarRows:
    fields = text.replace("\n", "\t").split("\t")
    numbers, *columns = (fields[place::_FIELDS] for place in range(_FIELDS))
    return BarRows(list(map(int, numbers)), [symbol] * len(numbers), *columns)


def _stamp(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size
