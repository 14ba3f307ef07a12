"""Reads CSV files, plain or gzip, as blocks of lines: a record is one line, whatever its quotes.

A quoted field may hold commas but no line break, so an unmatched quote spoils its own line and not the rest of the
file. Encoding is UTF-8 with or without a byte order mark.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from streamworkers.errors import BadInputError

BLOCK_BYTES = 1 << 18  # about 6,000 daily bars: their text stays in the processor's cache
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

ReadProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive lines of a file without their line ends; `first_line` counts from 1."""

    first_line: int
    lines: list[str]


def read_line_blocks(path: Path, progress: ReadProgress | None = None) -> Iterator[LineBlock]:
    """Yield the file's lines in blocks of `BLOCK_BYTES`; calls `progress` with the compressed bytes read so far.

    Raises BadInputError if the file cannot be opened, is empty, is or is not gzip against its name, is cut off or
    damaged, holds a line longer than a block, or is not UTF-8.
    """
    first_line = 1
    for block in _whole_lines(path, progress):
        text = _decode(path, block, first_line)
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        yield LineBlock(first_line, lines)
        first_line += len(lines)
    if first_line == 1:
        raise BadInputError(f"{path} is empty; its first line must name the columns")


def _whole_lines(path: Path, progress: ReadProgress | None) -> Iterator[bytes]:
    """Yield the bytes of the file in blocks that end at a line end or at the end of the file."""
    rest = b""
    lines_before = 0
    try:
        with path.open("rb") as raw:
            stream = _open_stream(path, raw)
            while read := stream.read(BLOCK_BYTES):
                block, newline, tail = (rest + read).rpartition(b"\n")
                rest = tail
                if len(rest) > BLOCK_BYTES:
                    line = lines_before + block.count(b"\n") + (2 if newline else 1)
                    raise BadInputError(f"line {line} of {path} is longer than {BLOCK_BYTES:,} bytes")
                if newline:
                    yield block + newline
                    lines_before += block.count(b"\n") + 1
                if progress:
                    progress(raw.tell())
            if rest:
                yield rest
    except EOFError as error:
        raise BadInputError(f"{path} is cut off: its gzip data stops before its end mark") from error
    except gzip.BadGzipFile as error:
        raise BadInputError(f"{path} is not a whole gzip file: {error}") from error
    except zlib.error as error:
        raise BadInputError(f"{path} is damaged: its gzip data cannot be unpacked ({error})") from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror or error}") from error


def _open_stream(path: Path, raw: IO[bytes]) -> IO[bytes]:
    """Return the stream of unpacked bytes, after a byte order mark."""
    start = raw.read(2)
    raw.seek(0)
    if path.suffix == ".gz":
        if start and start != _GZIP_MAGIC:
            raise BadInputError(f"{path} is not gzip though its name ends in .gz; rename it if it is plain CSV")
        unpacked = gzip.GzipFile(fileobj=raw)
        if unpacked.peek(3)[:3] == _BYTE_ORDER_MARK:
            unpacked.read(3)
        return unpacked  # type: ignore[return-value]
    if start == _GZIP_MAGIC:
        raise BadInputError(f"{path} is gzip though its name does not end in .gz; rename it")
    if raw.read(3) != _BYTE_ORDER_MARK:
        raw.seek(0)
    return raw


def _decode(path: Path, block: bytes, first_line: int) -> str:
    try:
        return block.decode("utf-8")
    except UnicodeDecodeError as error:
        line = first_line + block.count(b"\n", 0, error.start)
        byte = error.start - (block.rfind(b"\n", 0, error.start) + 1) + 1
        raise BadInputError(
            f"line {line} of {path} is not UTF-8: byte {byte} of the line is 0x{block[error.start]:02x}"
        ) from error


def split_fields(line: str) -> list[str]:
    """Return the fields of one record. Raises csv.Error if its quotes do not match."""
    if '"' not in line:
        return line.split(",")
    return next(csv.reader([line], strict=True))


def header_names(path: Path, line: str) -> list[str]:
    """Return the column names of a header line in lower case, without the blanks around them."""
    try:
        return [name.strip().lower() for name in split_fields(line)]
    except csv.Error as error:
        raise BadInputError(f"the header of {path} cannot be read: {error}") from error


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
