"""The provider `csv`: bars of files in the layouts and with the rules of `bars import`.

`STREAMWORKERS_CSV_PATH` is a path with `{symbol}` or `{timeframe}` in it, or a folder, which means
`{timeframe}/{symbol}.csv` in that folder. The file of one symbol needs no column `symbol`, and the name of a file may
end in `.gz`. A file of many symbols, whose path has no `{symbol}`, is read once by each worker and sorted by symbol.

A file that cannot be read concerns the items that it is for: one symbol's, those of a timeframe, or the whole run.
"""

import errno
import os
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, ClassVar, TypeAlias

import numpy as np

from streamworkers.config import Settings
from streamworkers.errors import BadInputError, UsageError
from streamworkers.loading.providers.provider import (
    UNCOUNTED,
    BarsRequest,
    Calls,
    Page,
    Provider,
    SourceError,
    TransientError,
    UnsupportedError,
)
from streamworkers.loading.providers.rows import cut_range, order_rows
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.neighbours import find_misfits
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import BarRows, PriceColumns, Reject
from streamworkers.market.calendar.timeframes import TIMEFRAMES, Timeframe
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.files.options import ReadOptions

_NO_PATH = "the provider csv needs a folder, a file or a path in STREAMWORKERS_CSV_PATH"
_FOLDER_LAYOUT = "{timeframe}/{symbol}.csv"
_FIELDS = 7
_Stamp: TypeAlias = tuple[int, int, int]
# Faults of a file or its name; any other one is of the disk or of this process, and may pass.
_LASTING = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EINVAL,
    }
)


class CsvFiles(Provider):
    """Reads bars from CSV files; it has the timeframes whose files exist."""

    name: ClassVar[str] = "csv"
    native: ClassVar[frozenset[str]] = frozenset(TIMEFRAMES)

    def __init__(self, settings: Settings, calls: Calls = UNCOUNTED) -> None:
        super().__init__(settings, calls)
        if settings.csv_path is None:
            raise UsageError(_NO_PATH)
        template = settings.csv_path
        try:
            if "{" not in template and Path(template).is_dir():
                template = str(Path(template) / _FOLDER_LAYOUT)
            _require_usable(template)
        except OSError as error:
            raise UsageError(f"STREAMWORKERS_CSV_PATH={template!r} cannot be read: {error.strerror}") from None
        self._template = template
        self._folder = _fixed_folder(template)
        self._is_for_all = "{" not in template
        self._options = ReadOptions(judges_sessions=False, limits=FileLimits.of(settings))
        self._files: dict[tuple[Path, str], _SortedFile] = {}
        self._broken: dict[tuple[Path, str], tuple[_Stamp, Exception]] = {}
        self._lock = threading.Lock()

    @classmethod
    def find_missing_setting(cls, settings: Settings) -> str | None:
        """The path of the files, if it is not set."""
        return _NO_PATH if settings.csv_path is None else None

    def pages(self, request: BarsRequest, cursor: str | None = None) -> Iterator[Page]:
        """Yield one page; rows that break a rule are rejected with their line.

        Raises SourceError if the file, or the folder of all files, is no good for any item of the run, UnsupportedError
        if it is none for this one, and TransientError if it may be read later.
        """
        del cursor
        if "/" in request.symbol or request.symbol.startswith("."):
            raise UnsupportedError(f"the symbol {request.symbol!r} is not a file name")
        try:
            path = self._find(request)
            if "{symbol}" in self._template:
                parts, rejected = _read_one(path, request.timeframe, request.symbol, self._options)
            else:
                parts, rejected = self._open_sorted(path, request.timeframe).read(request.symbol)
        except (BadInputError, OSError, EOFError, zlib.error) as error:
            raise self._to_error(error) from None
        bars, spikes = _without_spikes(request.symbol, order_rows(request.timeframe, *parts))
        yield Page(cut_range(request, request.timeframe, bars), [*rejected, *spikes])

    def close(self) -> None:
        """Close the files that were opened."""
        for file in self._files.values():
            file.close()

    def _find(self, request: BarsRequest) -> Path:
        path = _fill_in(self._template, request.symbol, request.timeframe.name)
        if (found := _choose(path)) is not None:
            if not self._is_for_all:
                _require_inside(found, self._folder)
            return found
        if not _is_open(self._folder):
            raise SourceError(f"there is no folder {self._folder} any more, which STREAMWORKERS_CSV_PATH names")
        if not path.parent.is_dir():
            raise BadInputError(f"there is no folder {path.parent}")
        raise BadInputError(f"there is no file {path} or {path.name}.gz")

    def _to_error(self, error: Exception) -> Exception:
        """Return the error for all items that a fault of a file concerns."""
        text = str(error) if isinstance(error, BadInputError) else f"{self._template} cannot be read: {error}"
        if _may_pass(error):
            return TransientError(text)
        return SourceError(text) if self._is_for_all or not _is_open(self._folder) else UnsupportedError(text)

    def _open_sorted(self, path: Path, timeframe: Timeframe) -> "_SortedFile":
        """Return the file, read once while it does not change; so is one that cannot be read, whose error is kept."""
        key = path, timeframe.name
        with self._lock:
            stamp = _stamp(path)
            if key in self._broken and self._broken[key][0] == stamp:
                raise self._broken[key][1]
            if key not in self._files or not self._files[key].is_current(path):
                try:
                    self._files[key] = _SortedFile(path, timeframe, self._options)
                except BadInputError as error:
                    if not _may_pass(error):
                        self._broken[key] = stamp, error
                    raise
            return self._files[key]


def _may_pass(error: Exception) -> bool:
    """True for a fault of the disk or of this process, such as a network file system that does not answer."""
    cause = error.__cause__ if isinstance(error, BadInputError) else error
    return isinstance(cause, OSError) and cause.errno is not None and cause.errno not in _LASTING


def _is_open(folder: Path) -> bool:
    """True if the files of a folder can be reached."""
    try:
        os.stat(f"{folder}/.")  # noqa: PTH116  # a Path leaves the dot out
    except OSError:
        return False
    return True


def _choose(path: Path) -> Path | None:
    """Return the file, plain or packed, that exists."""
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if each.is_file()), None)


def _require_inside(path: Path, folder: Path) -> None:
    """Raise BadInputError for a symbolic link out of the folder: errors would show the lines of any file."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadInputError(f"{path} is a symbolic link that leads out of {folder}")


def _fixed_folder(template: str) -> Path:
    """Return the folder that holds all files."""
    return Path(template.partition("{")[0] + "x").parent if "{" in template else Path(template).parent


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
    fixed = _fixed_folder(template)
    if not fixed.is_dir():
        raise UsageError(f"STREAMWORKERS_CSV_PATH={template!r}: there is no folder {fixed}")
    if "{" not in template and _choose(path) is None:
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


def _stamp(path: Path) -> _Stamp:
    state = path.stat()
    return state.st_mtime_ns, state.st_ctime_ns, state.st_size  # a right that is given changes the second alone
