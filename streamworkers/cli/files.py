"""Files that people name on the command line, read as far as they may be long, and written."""

import os
import select
import sys
import time
from pathlib import Path

from streamworkers.errors import BadInputError

_MOST_SECONDS = 60.0


def read_file(file: Path, most_bytes: int, setting: str = "") -> str:
    """Return the text of a file, or of standard input for `-`.

    Raises BadInputError unless it is UTF-8 of at most so many bytes, which a setting may say. Of a longer or endless
    one no more is read, and a pipe, such as that of `<(command)`, has a minute.
    """
    try:
        content = sys.stdin.buffer.read(most_bytes + 1) if str(file) == "-" else _read(file, most_bytes + 1)
        if len(content) > most_bytes:
            raise BadInputError(
                f"{file} exceeds {setting}={most_bytes}" if setting else f"{file} is longer than {most_bytes:,} bytes"
            )
        return content.decode()
    except UnicodeDecodeError as error:
        bad, start = error.object, error.start
        byte = start - bad.rfind(b"\n", 0, start)
        line = f"line {bad.count(10, 0, start) + 1} of {file}"
        raise BadInputError(f"{line} is not UTF-8: byte {byte} of the line is 0x{bad[start]:02x}") from None
    except OSError as error:
        raise BadInputError(f"{file} cannot be read: {error.strerror or error}") from None


def write_file(file: Path, text: str) -> None:
    """Write a text to a file. Raises BadInputError if that cannot be."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{file} cannot be written: {error.strerror or error}") from None


def _read(file: Path, most_bytes: int) -> bytes:
    deadline = time.monotonic() + _MOST_SECONDS
    content = b""
    # Opening a pipe without a writer would wait for one.
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0) as opened:
        while len(content) < most_bytes:
            if not select.select([opened], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BadInputError(f"{file} has not ended within {_MOST_SECONDS:g} s")
            part = opened.read(most_bytes - len(content))
            if part == b"":
                break
            content += part or b""
    return content
