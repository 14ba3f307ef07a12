"""Imports CSV files of bars: valid rows are loaded, the others are rejected with line and rule."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path

import psycopg

from streamworkers.errors import BadInputError
from streamworkers.market.bars.text_rows import BarRows, Reject
from streamworkers.market.bars.write import LoadCounts, load_rows
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.files.bars_file import read_bars
from streamworkers.market.files.csv_lines import ReadProgress
from streamworkers.market.files.rejects_file import RejectsFile, open_rejects

EXAMPLES_KEPT = 5

ImportProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A rejected row and its file."""

    file: Path
    reject: Reject


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """The result of an import; rows_read = inserted + updated + unchanged + the sum of `rejected`.

    `rejected` counts rows by the code of the rule they break; `examples` are the first of them. `first` and `last` are
    the times of the oldest and newest valid row, None if there are none.
    """

    rows_read: int
    inserted: int
    updated: int
    unchanged: int
    rejected: dict[str, int]
    symbols: frozenset[str]
    first: date | datetime | None
    last: date | datetime | None
    examples: tuple[RejectedRow, ...]


@dataclass(slots=True)
class _Tally:
    """Sums over the files of one import."""

    rejects_file: RejectsFile
    rows_read: int = 0
    loads: list[LoadCounts] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    examples: list[RejectedRow] = field(default_factory=list)

    def reject(self, path: Path, rejects: Sequence[Reject]) -> None:
        self.rejects_file.write(str(path), rejects)
        self.rejected.update(str(reject.rule) for reject in rejects)
        room = EXAMPLES_KEPT - len(self.examples)
        self.examples.extend(RejectedRow(path, reject) for reject in rejects[:room])

    def reject_one(self, path: Path, reject: Reject) -> None:
        self.reject(path, [reject])

    def summary(self) -> ImportSummary:
        symbols = frozenset[str]().union(*(load.symbols for load in self.loads))
        return ImportSummary(
            rows_read=self.rows_read,
            inserted=sum(load.inserted for load in self.loads),
            updated=sum(load.updated for load in self.loads),
            unchanged=sum(load.unchanged for load in self.loads),
            rejected=dict(self.rejected),
            symbols=symbols,
            first=min((load.first for load in self.loads if load.first is not None), default=None),
            last=max((load.last for load in self.loads if load.last is not None), default=None),
            examples=tuple(self.examples),
        )


def import_bars(
    connection: psycopg.Connection,
    files: Sequence[Path],
    timeframe: Timeframe,
    *,
    rejects: Path | None = None,
    progress: ImportProgress | None = None,
) -> ImportSummary:
    """Load the files one after another, each in a transaction of its own.

    The file `rejects` is overwritten with every rejected row as CSV (file, line, rule, detail, row), duplicates last
    for each file. `progress` is called with the compressed bytes read so far and their total. Raises BadInputError
    for a file that cannot be read completely; nothing of it is loaded, the files before it stay loaded.
    """
    total = sum(map(_size, files))
    done = 0
    with open_rejects(rejects) as rejects_file:
        tally = _Tally(rejects_file)
        for path in files:
            report = _offset_progress(done, total, progress)
            rows = _read_valid_rows(path, timeframe, tally, report)
            tally.loads.append(load_rows(connection, timeframe, rows, partial(tally.reject_one, path)))
            done += _size(path)
    return tally.summary()


def _offset_progress(done: int, total: int, progress: ImportProgress | None) -> ReadProgress | None:
    """Convert progress within one file to progress of the import."""
    return None if progress is None else lambda read: progress(done + read, total)


def _read_valid_rows(path: Path, timeframe: Timeframe, tally: _Tally, report: ReadProgress | None) -> Iterator[BarRows]:
    for chunk in read_bars(path, timeframe, report):
        tally.rows_read += chunk.rows_read
        tally.reject(path, chunk.rejects)
        yield chunk.rows


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
