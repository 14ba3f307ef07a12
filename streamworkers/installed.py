"""What installed packages add by entry points: jobs, hooks, commands, providers, channels, migrations."""

import importlib.metadata
import sys
from functools import lru_cache
from importlib.metadata import EntryPoints
from pathlib import Path


def entry_points(group: str) -> EntryPoints:
    """Return the entry points of a group.

    The metadata of all packages is read once for all groups, and again when a package has been added or removed: it
    takes longer than many a command.
    """
    return _read_all(tuple((path, _changed_at(path)) for path in sys.path)).select(group=group)


@lru_cache(maxsize=4)
def _read_all(_paths: tuple[tuple[str, int], ...]) -> "importlib.metadata.SelectableGroups":
    return importlib.metadata.entry_points()


def _changed_at(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0
