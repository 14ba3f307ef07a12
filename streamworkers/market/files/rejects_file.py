"""Writes the rows that an import rejected to a CSV file."""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from streamworkers.errors import BadInputError
from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.files.spreadsheet import guard_cell

REJECT_COLUMNS = ("file", "line", "rule", "detail", "row")


class RejectsFile:
    """Writes rejected rows as whole lines, so that a crash leaves no partial line; without a stream it drops them."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream

    def write(self, source: str, rejects: Sequence[Reject]) -> None:
        """Add a line for each rejected row of the file `source`."""
        guarded = guard_cell(source)
        self._write_lines(
            [
                (guarded, reject.line, reject.rule, guard_cell(reject.detail), guard_cell(reject.row))
                for reject in rejects
            ]
        )

    def write_header(self) -> None:
        """Add the line with the column names."""
        self._write_lines([REJECT_COLUMNS])

    def _write_lines(self, rows: Sequence[Sequence[object]]) -> None:
        if self._stream is None or not rows:
            return
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self._stream.write(text.getvalue().encode())
        self._stream.flush()


@contextmanager
def open_rejects(path: Path | None) -> Iterator[RejectsFile]:
    """Open the rejects file at `path` and overwrite it with a header line; with None it writes nothing.

    Raises BadInputError if the file cannot be created.
    """
    if path is None:
        yield RejectsFile(None)
        return
    try:
        stream = path.open("wb")
    except OSError as error:
        raise BadInputError(f"the file for rejected rows {path} cannot be written: {error.strerror}") from error
    with stream:
        rejects = RejectsFile(stream)
        rejects.write_header()
        yield rejects
