"""Opens what should be a file on a disk, without waiting for what is none."""

import os
import stat
from pathlib import Path
from typing import IO

from streamworkers.errors import BadInputError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_plain_file(path: Path) -> IO[bytes]:
    """Open a file for reading.

    Raises BadInputError for a pipe, whose writer may never come, a device, which may never end, a socket and a folder,
    and OSError as `open` does.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    for is_kind, name in _KINDS:
        if is_kind(mode):
            os.close(descriptor)
            raise BadInputError(f"{path} is {name}, not a file")
    return os.fdopen(descriptor, "rb")
