"""The data folder of the embedded services: whose it is, and why it cannot be used."""

import os
import pwd
import stat
from pathlib import Path

from streamworkers.errors import UsageError

_ELSEWHERE = "choose another folder with STREAMWORKERS_DATA_DIR"


def resolve_folder(folder: Path) -> Path:
    """Return the absolute path of a data folder. Raises UsageError for a user or a link that leads nowhere."""
    try:
        return folder.expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise UsageError(f"data folder {str(folder)!r} leads nowhere: {error}: {_ELSEWHERE}") from None


def require_usable_folder(folder: Path) -> None:
    """Raise UsageError for a data folder that this user cannot use, with the reason and the way out.

    One that is not there is none of these, and root may look into that of anybody.
    """
    shown = f"data folder {str(folder)!r}"
    try:
        found = folder.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(_word(folder, error)) from None
    if not stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{shown} cannot be used: it is a file: remove it, or {_ELSEWHERE}")
    if os.geteuid() not in (0, found.st_uid):
        raise UsageError(
            f"{shown} belongs to user {name_of_user(found.st_uid)}: run this as that user, or {_ELSEWHERE}; for that"
            " user's services, set the variables that `streamworkers embedded env` prints there"
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        mode = stat.S_IMODE(found.st_mode)
        raise UsageError(f"{shown} cannot be read, because its mode is {mode:03o}: make it 700, or {_ELSEWHERE}")


def make_folder_error(folder: Path, error: OSError) -> UsageError:
    """Return the error for a data folder in which something cannot be made, read or written."""
    return UsageError(_word(folder, error))


def _word(folder: Path, error: OSError) -> str:
    where = "" if error.filename in (None, str(folder)) else f"{error.filename}: "
    return f"data folder {str(folder)!r} cannot be used: {where}{error.strerror}: {_ELSEWHERE}"


def name_of_user(user: int) -> str:
    """The name of a user, or the number of one without."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
