"""Imports files of bars: valid rows are loaded, the others are rejected with line and rule."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path

import psycopg

from streamworkers.errors import BadInputError
from streamworkers.market.bars.incoming import DuplicatePolicy, IncomingChecks
from streamworkers.market.bars.neighbours import JumpWatch
from streamworkers.market.bars.rules import Rule
from streamworkers.market.bars.text_rows import BarRows, Reject
from streamworkers.market.bars.write import LoadCounts, load_rows
from streamworkers.market.calendar.exchange import exchange_named
from streamworkers.market.calendar.session_table import read_session_days
from streamworkers.market.calendar.timeframes import Timeframe
from streamworkers.market.files.bars_file import read_bars_file
from streamworkers.market.files.csv_lines import ReadProgress
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.options import ReadOptions
from streamworkers.market.files.rejects_file import RejectsFile, open_rejects

EXAMPLES_KEPT = 5
# A row of another series is no fault of a file that holds all of them.
_NO_FAULTS = frozenset({str(Rule.OTHER_SERIES)})
_NOT_REAL = ("invented", "sample")  # origins whose bars those of a file replace

ImportProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class MostRejected:
    """The largest part of a file's rows, or the largest number of them, that may be rejected."""

    share: float | None = None
    count: int | None = None

    def check(self, path: Path, rejected: int, rows: int) -> None:
        """Raise BadInputError if more is rejected."""
        if self.share is not None and rejected > self.share * rows:
            raise BadInputError(
                f"{rejected:,} of {rows:,} rows of {path} are rejected, more than {self.share:.4g} of them:"
                " nothing of it is loaded"
            )
        if self.count is not None and rejected > self.count:
            raise BadInputError(
                f"{rejected:,} of {rows:,} rows of {path} are rejected, more than {self.count:,}:"
                " nothing of it is loaded"
            )


@dataclass(frozen=True, slots=True)
class ImportRules:
    """How files are read, and what is done with duplicates and with files of which much is rejected."""

    read: ReadOptions = field(default_factory=ReadOptions)
    duplicates: DuplicatePolicy = "last"
    most_rejected: MostRejected = field(default_factory=MostRejected)


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A rejected or marked row and its file."""

    file: Path
    reject: Reject


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """The result of an import; rows_read = inserted + updated + unchanged + the sum of `rejected`.

    `rejected` counts rows by the code of the rule they break; `marked` those that were loaded though they look wrong;
    `examples` are the first of both. `first` and `last` are the times of the oldest and newest valid row, None if there
    are none. `rounded` counts the volumes that were rounded, and `assumptions` are sentences for each file. `replaced`
    are the symbols whose invented or sample bars were deleted.
    """

    rows_read: int
    inserted: int
    updated: int
    unchanged: int
    rejected: dict[str, int]
    marked: dict[str, int]
    rounded: int
    symbols: frozenset[str]
    first: date | datetime | None
    last: date | datetime | None
    examples: tuple[RejectedRow, ...]
    assumptions: dict[Path, dict[str, str]]
    replaced: frozenset[str]

    @property
    def loaded(self) -> int:
        """The number of rows that are stored now, whether they were before or not."""
        return self.inserted + self.updated + self.unchanged


@dataclass(slots=True)
class _Tally:
    """Sums over the files of one import."""

    rejects_file: RejectsFile
    rows_read: int = 0
    rounded: int = 0
    loads: list[LoadCounts] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)
    examples: list[RejectedRow] = field(default_factory=list)
    assumptions: dict[Path, dict[str, str]] = field(default_factory=dict)

    def reject(self, path: Path, rejects: Sequence[Reject]) -> None:
        self.rejects_file.write(str(path), rejects)
        self.rejected.update(str(reject.rule) for reject in rejects)
        self._keep_examples(path, rejects)

    def mark(self, path: Path, reject: Reject) -> None:
        self.marked[str(reject.rule)] += 1
        self._keep_examples(path, [reject])

    def faults(self) -> int:
        """The number of rejected rows that count against `MostRejected`."""
        return sum(count for rule, count in self.rejected.items() if rule not in _NO_FAULTS)

    def _keep_examples(self, path: Path, rejects: Sequence[Reject]) -> None:
        room = EXAMPLES_KEPT - len(self.examples)
        self.examples.extend(RejectedRow(path, reject) for reject in rejects[:room])

    def summary(self) -> ImportSummary:
        symbols = frozenset[str]().union(*(load.symbols for load in self.loads))
        return ImportSummary(
            rows_read=self.rows_read,
            inserted=sum(load.inserted for load in self.loads),
            updated=sum(load.updated for load in self.loads),
            unchanged=sum(load.unchanged for load in self.loads),
            rejected=dict(self.rejected),
            marked=dict(self.marked),
            rounded=self.rounded,
            symbols=symbols,
            first=min((load.first for load in self.loads if load.first is not None), default=None),
            last=max((load.last for load in self.loads if load.last is not None), default=None),
            examples=tuple(self.examples),
            assumptions=self.assumptions,
            replaced=frozenset[str]().union(*(load.replaced for load in self.loads)),
        )


def import_bars(
    connection: psycopg.Connection,
    files: Sequence[Path],
    timeframe: Timeframe,
    *,
    rules: ImportRules | None = None,
    rejects: Path | None = None,
    progress: ImportProgress | None = None,
) -> ImportSummary:
    """Load the files one after another, each in a transaction of its own.

    The file `rejects` is overwritten with every rejected row as CSV (file, line, rule, detail, row), duplicates and
    misfits last for each file. `progress` is called with the packed bytes read so far and their total. Raises
    BadInputError for a file that cannot be read completely, or of which too much is rejected; nothing of it is loaded,
    the files before it stay loaded.
    """
    rules = rules or ImportRules()
    total = sum(map(_size, files))
    done = 0
    calendars = [rules.read.calendar] if rules.read.calendar else rules.read.calendar_rules.patterns.values()
    for calendar in set(calendars):
        if (stored := read_session_days(connection, calendar)) is not None:
            exchange_named(calendar).learn(*stored)
    with open_rejects(rejects) as rejects_file:
        tally = _Tally(rejects_file)
        for path in files:
            _import_file(connection, path, timeframe, rules, tally, _offset_progress(done, total, progress))
            done += _size(path)
    return tally.summary()


def _import_file(
    connection: psycopg.Connection,
    path: Path,
    timeframe: Timeframe,
    rules: ImportRules,
    tally: _Tally,
    report: ReadProgress | None,
) -> None:
    notes, watch = Notes(), JumpWatch()
    rows_before, faults_before = tally.rows_read, tally.faults()

    def read() -> Iterator[BarRows]:
        for chunk in read_bars_file(path, timeframe, report, options=rules.read, notes=notes):
            tally.rows_read += chunk.rows_read
            tally.rounded += chunk.rounded
            if chunk.rejects:
                tally.reject(path, chunk.rejects)
            watch.note(chunk)
            yield chunk.rows

    checks = IncomingChecks(
        rules.duplicates,
        on_reject=lambda reject: tally.reject(path, [reject]),
        on_mark=partial(tally.mark, path),
        suspects=lambda: watch.symbols,
        approve=lambda: rules.most_rejected.check(path, tally.faults() - faults_before, tally.rows_read - rows_before),
        replaces=_NOT_REAL,
    )
    tally.loads.append(load_rows(connection, timeframe, read(), checks))
    tally.assumptions[path] = notes.by_subject


def _offset_progress(done: int, total: int, progress: ImportProgress | None) -> ReadProgress | None:
    """Convert progress within one file to progress of the import."""
    return None if progress is None else lambda read: progress(done + read, total)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
