"""A file system that is small enough to be filled."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patience import patient


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own below a folder; a visible skip where none can be mounted."""
    place = folder / "disk"
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "tmpfs", str(place)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=patient(30))
    if done.returncode != 0:
        pytest.skip(f"needs to mount a small file system: {done.stderr.strip()}")
    try:
        yield place
    finally:
        # Lazily, as a process that was killed may hold a file for a moment longer.
        subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=patient(30))
