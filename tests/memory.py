"""Folders in memory for the services of tests, which make and drop thousands of databases of a thousand files each."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

_MEMORY = Path("/dev/shm")
# All processes of a run together use less than half of it.
_LEAST_FREE_BYTES = 4 << 30


def folder_of_services(prefix: str) -> Path:
    """A new folder with a short path, as sockets need: in memory, unless there is little of it or TMPDIR says where."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY if _has_room() else None))


def _has_room() -> bool:
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return False
    available: int = psutil.virtual_memory().available
    return min(shutil.disk_usage(_MEMORY).free, available) >= _LEAST_FREE_BYTES
