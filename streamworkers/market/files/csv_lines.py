"""Reads text files, packed or not, as blocks of lines: a record of CSV is one line, whatever its quotes.

A quoted field may hold commas but no line break, so an unmatched quote spoils its own line and not the rest of the
file. Encoding is UTF-8, UTF-16 with or without a byte order mark, or Windows-1252 in a file that is not UTF-8.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from streamworkers.errors import BadInputError
from streamworkers.market.files.limits import DEFAULT_LIMITS, FileLimits
from streamworkers.market.files.notes import Notes
from streamworkers.market.files.unpack import open_bytes
from streamworkers.plain_files import open_plain_file

BLOCK_BYTES = 1 << 18  # about 6,000 daily bars: their text stays in the processor's cache

ReadProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive lines of a file without their line ends; `first_line` counts from 1."""

    first_line: int
    lines: list[str]


def read_line_blocks(
    path: Path,
    progress: ReadProgress | None = None,
    limits: FileLimits = DEFAULT_LIMITS,
    notes: Notes | None = None,
    encoding: str | None = None,
) -> Iterator[LineBlock]:
    """Yield the file's lines in blocks of `BLOCK_BYTES`; calls `progress` with the packed bytes read so far.

    Raises BadInputError if the file cannot be opened, is empty, is no text, is cut off or damaged, or holds a line that
    is longer than the limit or not in the encoding.
    """
    notes = notes if notes is not None else Notes()
    decoder = _Decoder(path, notes, encoding)
    first_line = 1
    for block in _whole_lines(path, progress, limits, notes):
        text = decoder.decode(block, first_line)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        yield LineBlock(first_line, lines)
        first_line += len(lines)
    if first_line == 1:
        raise BadInputError(f"{path} is empty; its first line must name the columns")


def _whole_lines(path: Path, progress: ReadProgress | None, limits: FileLimits, notes: Notes) -> Iterator[bytes]:
    """Yield the bytes of the file in blocks that end at a line end or at the end of the file."""
    rest = b""
    lines_before = 0
    only_returns: bool | None = None
    try:
        with open_plain_file(path) as raw, open_bytes(path, raw, limits, notes) as stream:
            while read := stream.read(BLOCK_BYTES):
                if only_returns is None:
                    only_returns = b"\r" in read and b"\n" not in read
                    if only_returns:
                        notes.add("line ends", "carriage returns, as of old Macs")
                if only_returns:
                    read = read.replace(b"\r", b"\n")
                block, newline, tail = (rest + read).rpartition(b"\n")
                rest = tail
                if len(rest) > limits.line_bytes:
                    line = lines_before + block.count(b"\n") + (2 if newline else 1)
                    raise BadInputError(
                        f"line {line} of {path} exceeds STREAMWORKERS_IMPORT_MAX_LINE_BYTES={limits.line_bytes}"
                    )
                if newline:
                    yield block + newline
                    lines_before += block.count(b"\n") + 1
                if progress:
                    progress(raw.tell())
            if rest:
                yield rest
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}") from error


class _Decoder:
    """Decodes blocks as UTF-8, or, from the first byte that is not, as Windows-1252 if all before it was ASCII."""

    def __init__(self, path: Path, notes: Notes, encoding: str | None) -> None:
        self._path, self._notes, self._named = path, notes, encoding
        self._encoding = encoding or "utf-8"
        self._is_ascii = True

    def decode(self, block: bytes, first_line: int) -> str:
        try:
            text = block.decode(self._encoding)
        except UnicodeDecodeError as error:
            is_ascii = self._is_ascii and block[: error.start].isascii()
            if self._named is not None or not is_ascii or self._encoding != "utf-8":
                raise self._error(block, first_line, error) from error
            self._encoding = "cp1252"
            self._notes.add("encoding", "Windows-1252, because it is not UTF-8 (--encoding)")
            return self.decode(block, first_line)
        self._is_ascii = self._is_ascii and text.isascii()
        return text

    def _error(self, block: bytes, first_line: int, error: UnicodeDecodeError) -> BadInputError:
        line = first_line + block.count(b"\n", 0, error.start)
        byte = error.start - (block.rfind(b"\n", 0, error.start) + 1) + 1
        name = {"utf-8": "UTF-8", "cp1252": "UTF-8 or Windows-1252"}.get(self._encoding, self._encoding)
        return BadInputError(
            f"line {line} of {self._path} is not {name}: byte {byte} of the line is 0x{block[error.start]:02x}"
        )


def split_fields(line: str, delimiter: str = ",") -> list[str]:
    """Return the fields of one record. Raises csv.Error if its quotes do not match."""
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader([line], strict=True, delimiter=delimiter))


def word_csv_error(error: csv.Error) -> str:
    """Say what is wrong with the quotes of a record."""
    text = str(error)
    if text.startswith("unexpected end"):
        return "one is not closed"
    return "something stands behind a closed one" if "expected after" in text else text


def header_names(path: Path, line: str) -> list[str]:
    """Return the column names of a header line in lower case, without the blanks around them."""
    try:
        return [name.strip().lower() for name in split_fields(line)]
    except csv.Error as error:
        raise BadInputError(f"the quotes of the header of {path} do not match: {word_csv_error(error)}") from error


def require_columns(path: Path, names: list[str], required: Iterable[str]) -> None:
    """Raise BadInputError if a required column is missing or occurs twice."""
    wanted = list(required)
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BadInputError(
            f"{path} has no column {', '.join(missing)}; its first line must name {', '.join(wanted)} and names "
            f"{', '.join(names)[:200]!r}"
        )
    twice = [name for name in wanted if names.count(name) > 1]
    if twice:
        raise BadInputError(f"{path} has the column {', '.join(twice)} more than once")
