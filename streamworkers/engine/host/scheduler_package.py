"""Checks that the package `scheduler` is the one of streamworkers: PyPI has another distribution of that name."""

import importlib
import importlib.util
from importlib.metadata import Distribution, distributions
from pathlib import Path

from streamworkers.errors import UsageError

PACKAGE = "scheduler"
DISTRIBUTION = "streamworkers"


def require_own_scheduler() -> None:
    """Raise UsageError if `import scheduler` does not import the package of streamworkers."""
    if (conflict := find_scheduler_conflict()) is not None:
        raise UsageError(conflict)


def find_scheduler_conflict() -> str | None:
    """Why `import scheduler` does not import the package of streamworkers, and what to do; None if it does."""
    expected = Path(__file__).parents[3] / PACKAGE / "__init__.py"
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        return f"the package `{PACKAGE}` is missing, expected in {expected.parent}: install {DISTRIBUTION} again"
    found = Path(spec.origin) if spec.origin is not None else None
    if found is None or not expected.is_file() or not found.samefile(expected):
        place = found or ", ".join(spec.submodule_search_locations or ())
        return (
            f"`import {PACKAGE}` finds {place}, which hides the package of {DISTRIBUTION} in {expected.parent}:"
            f" {_advise_removal()}rename it or take it off the path (PYTHONPATH, the current folder)"
        )
    if not _has_marker():
        return (
            f"the package `{PACKAGE}` in {expected.parent} is not the one of {DISTRIBUTION}: another distribution has"
            f" overwritten it: {_advise_removal()}install {DISTRIBUTION} again, as with"
            f" pip install --force-reinstall --no-deps {DISTRIBUTION}"
        )
    return None


def list_other_owners() -> list[str]:
    """Names of the other installed distributions with a package of this name."""
    owners = {distribution.metadata["Name"] for distribution in distributions() if _installs_package(distribution)}
    return sorted(owners - {DISTRIBUTION})


def _installs_package(distribution: Distribution) -> bool:
    """True by its metadata as text: parsing the lists of files of all takes ten times as long."""
    if (declared := distribution.read_text("top_level.txt")) is not None:
        return PACKAGE in declared.split()
    files = (distribution.read_text("RECORD") or "").splitlines()
    return any(file.startswith((f"{PACKAGE}/", f"{PACKAGE}.py,")) for file in files)


def _has_marker() -> bool:
    try:
        module = importlib.import_module(PACKAGE)
    except ImportError:  # another package may lack its dependencies
        return False
    return getattr(module, "DISTRIBUTION", None) == DISTRIBUTION


def _advise_removal() -> str:
    """The part of the advice that names other distributions with a package of this name; empty if there are none."""
    others = list_other_owners()
    return f"uninstall {', '.join(others)} (pip uninstall {' '.join(others)}), then " if others else ""
