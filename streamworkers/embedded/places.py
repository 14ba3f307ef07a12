"""Folders of the embedded services beside their data: for sockets with long paths, and for copies of programs."""

import hashlib
import os
import tempfile
from pathlib import Path

from streamworkers.errors import UsageError


def temporary_folder(folder: Path) -> Path:
    """The path of the temporary folder that belongs to a folder of data."""
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"streamworkers-{os.getuid()}-{digest}"


def relative_path(path: Path, folder: Path) -> str:
    """`path` from `folder`, so that folders above that are closed do not matter; the whole path if it is elsewhere."""
    return os.path.relpath(path, folder) if path.is_relative_to(folder.parent) else str(path)


def make_own_folder(folder: Path) -> None:
    """Make a temporary folder through which others may pass. Raises UsageError if another user owns it already."""
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise UsageError(f"folder {str(folder)!r} belongs to another user: remove it, or choose a shorter data folder")
    folder.chmod(0o711)


def remove_if_empty(*folders: Path) -> None:
    """Remove folders that are there and have nothing in them."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
