"""Environment variables that a job cannot work without: a process that lacks one says so at once, by its name."""

import os
import re
from collections.abc import Sequence
from typing import Any

from streamworkers.errors import BadInputError, StopRunError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def find_missing_setting(job: str, names: Sequence[str]) -> str | None:
    """Return a sentence about the first variable that the job needs and that is not set here, or is empty."""
    missing = next((name for name in names if not os.environ.get(name)), None)
    if missing is None:
        return None
    return f"job {job!r} needs {missing}, which is not set in the environment of this process"


def require_settings(job: str, names: Sequence[str]) -> None:
    """Raise StopRunError for a job that lacks a variable here: no item of the run can succeed."""
    if (missing := find_missing_setting(job, names)) is not None:
        raise StopRunError(missing)


def require_sound_settings(job: str, names: Any) -> None:
    """Raise BadInputError for required settings that are no tuple of names; they are the author's, of any type."""
    if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
        raise BadInputError(f"required_settings of job {job!r} is not a tuple of names: {names!r:.200}")
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadInputError(f"required setting {name[:80]!r} of job {job!r} is not the name of a variable")
