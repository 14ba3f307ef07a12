"""Opens a file as a stream of unpacked bytes in UTF-8 or an 8-bit encoding: plain, gzip or zip, whatever its name.

What is no text at all, such as a workbook or a web page, is rejected by what it is.
"""

import codecs
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from streamworkers.errors import BadInputError
from streamworkers.market.files.limits import FileLimits
from streamworkers.market.files.notes import Notes

_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_HEAD_BYTES = 1024
_MANY_NAMES = 5
_UTF_16 = ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# The first bytes of files that are taken for CSV, and what they are.
_OTHER_KINDS = (
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls), not CSV; save it as CSV"),
    (b"PAR1", "a Parquet file, not CSV"),
    (b"%PDF", "a PDF, not CSV"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (codecs.BOM_UTF32_LE, "text in UTF-32; save it as UTF-8"),
    (b"SQLite format 3", "an SQLite database, not CSV"),
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")


class ByteStream(Protocol):
    """A source of bytes, read to its end."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, none at the end."""
        ...


class _Bounded:
    """Counts unpacked bytes, and ends a stream that has more than the limit."""

    def __init__(self, path: Path, stream: ByteStream, most: int) -> None:
        self._path, self._stream, self._most, self._count = path, stream, most, 0

    def read(self, size: int) -> bytes:
        block = self._stream.read(size)
        self._count += len(block)
        if self._count > self._most:
            raise BadInputError(
                f"the unpacked data of {self._path} exceeds STREAMWORKERS_IMPORT_MAX_UNPACKED_MB={self._most >> 20}"
            )
        return block


class _Resumed:
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, stream: ByteStream) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head + self._stream.read(size)
        return self._stream.read(size)


class _Utf16:
    """A stream of UTF-16 as UTF-8."""

    def __init__(self, path: Path, stream: ByteStream, encoding: str) -> None:
        self._path, self._stream = path, stream
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def read(self, size: int) -> bytes:
        while block := self._stream.read(size):
            if text := self._decode(block, final=False):
                return text.encode()
        return self._decode(b"", final=True).encode()

    def _decode(self, block: bytes, *, final: bool) -> str:
        try:
            return self._decoder.decode(block, final)
        except UnicodeDecodeError as error:
            raise BadInputError(f"{self._path} is not whole UTF-16: {error.reason}") from error


@contextmanager
def open_bytes(path: Path, raw: IO[bytes], limits: FileLimits, notes: Notes) -> Iterator[ByteStream]:
    """Open the text in a file that is open as `raw`, without its byte order mark.

    Raises BadInputError for what is no text, and for an archive of several files.
    """
    start = raw.read(len(_ZIP))
    raw.seek(0)
    try:
        if start.startswith(_GZIP):
            yield _text(path, _Bounded(path, gzip.GzipFile(fileobj=raw), limits.unpacked_bytes), notes)
        elif start == _ZIP:
            with zipfile.ZipFile(raw) as archive, archive.open(_only_member(path, archive)) as member:
                notes.add("archive", f"{member.name} in the archive")
                yield _text(path, _Bounded(path, member, limits.unpacked_bytes), notes)
        else:
            yield _text(path, raw, notes)
    except EOFError as error:
        raise BadInputError(f"{path} is cut off: its {_kind(start)} data stops before its end mark") from error
    except gzip.BadGzipFile as error:
        raise BadInputError(f"{path} is not a whole gzip file: {error}") from error
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise BadInputError(f"{path} is not a zip file that can be unpacked: {error}") from error
    except zlib.error as error:
        raise BadInputError(f"{path} is damaged: its {_kind(start)} data cannot be unpacked ({error})") from error


def _kind(start: bytes) -> str:
    return "zip" if start == _ZIP else "gzip"


def _only_member(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX/") and "/." not in f"/{member.filename}"
    ]
    names = [member.filename for member in members]
    if "[Content_Types].xml" in names:
        raise BadInputError(f"{path} is an Excel workbook or another office document, not CSV; save it as CSV")
    if len(members) != 1:
        shown = ", ".join(names[:_MANY_NAMES]) + (", …" if len(names) > _MANY_NAMES else "")
        raise BadInputError(
            f"{path} is a zip of {len(names)} files{': ' if names else ''}{shown}; unpack it and name those to import"
        )
    if members[0].flag_bits & 1:
        raise BadInputError(f"{path} is a zip with a password; unpack it first")
    return members[0]


def _text(path: Path, stream: ByteStream, notes: Notes) -> ByteStream:
    """Return a stream of bytes that hold text in an encoding of whole bytes."""
    head = stream.read(_HEAD_BYTES)
    for mark, kind in _OTHER_KINDS:
        if head.startswith(mark):
            raise BadInputError(f"{path} is {kind}")
    if head.startswith(codecs.BOM_UTF8):
        return _Resumed(head[len(codecs.BOM_UTF8) :], stream)
    encoding = next((name for mark, name in _UTF_16 if head.startswith(mark)), None)
    if encoding is not None:
        head = head[2:]
    elif b"\0" in head:
        encoding = _unmarked_utf_16(path, head)
    if encoding is not None:
        notes.add("encoding", "UTF-16")
        return _Utf16(path, _Resumed(head, stream), encoding)
    begin = head.lstrip()[:20].lower()
    if begin.startswith(_PAGES):
        raise BadInputError(f"{path} is a web page, not CSV: the download may have asked for a login or failed")
    if begin.startswith((b"{", b"[")):
        raise BadInputError(f"{path} is JSON, not CSV")
    return _Resumed(head, stream)


def _unmarked_utf_16(path: Path, head: bytes) -> str:
    """Return the byte order of text whose every other byte is 0."""
    pairs = len(head) // 2
    for encoding, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[0::2])):
        if zeros.count(0) > 0.9 * pairs:
            return encoding
    raise BadInputError(f"{path} is binary, not text: it holds bytes of 0")
