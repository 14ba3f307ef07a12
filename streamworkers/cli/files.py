"""Files that people name on the command line, read as far as they may be long."""

import sys
from pathlib import Path

from streamworkers.errors import BadInputError


def read_file(file: Path, most_bytes: int) -> str:
    """Return the text of a file, or of standard input for `-`.

    Raises BadInputError unless it is UTF-8 of at most so many bytes; of a longer or endless one no more is read.
    """
    try:
        if str(file) == "-":
            content = sys.stdin.buffer.read(most_bytes + 1)
        else:
            with file.open("rb") as opened:
                content = opened.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise BadInputError(f"{file} is longer than {most_bytes:,} bytes")
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadInputError(f"{file} is not UTF-8: byte {error.start}") from None
