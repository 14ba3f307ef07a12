"""Server processes that outlive the command that started them: how they are found, awaited and ended."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from streamworkers.embedded.account import is_own_number

_POLL_SECONDS = 0.02
_KILL_SECONDS = 10.0


def process_from_pid_file(path: Path, folder: Path) -> psutil.Process | None:
    """The live process with the id in the first line of `path`, if `folder` is its working folder.

    Returns None if there is no such file or process, or if the id belongs to another program.
    """
    # After a power loss the id may have been reused. Both servers change to their data folder, other programs do not.
    try:
        pid = int(path.read_text(encoding="utf-8").split("\n", 1)[0])
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and _works_in(process, folder):
            return process
    except (OSError, ValueError, psutil.Error):
        return None
    return None


def processes_in(folder: Path, name: str | None = None) -> list[psutil.Process]:
    """The live processes with this working folder, and this name if one is given."""
    found = []
    for process in psutil.process_iter():
        try:
            is_there = process.status() != psutil.STATUS_ZOMBIE and _works_in(process, folder)
            if is_there and name in (None, process.name()):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def log_tail(path: Path) -> str:
    """The last 600 characters of a log, on one line."""
    try:
        return " ".join(path.read_text(encoding="utf-8", errors="replace").split())[-600:]
    except OSError:
        return "(no log)"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until `condition` is true; returns False if it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def ask_to_end(process: psutil.Process, asking: signal.Signals, seconds: float) -> bool:
    """Send a signal that ends the process in good order; returns False if it has not ended within `seconds`."""
    try:
        process.send_signal(asking)
        return wait_until(lambda: _has_ended(process), seconds)
    except psutil.NoSuchProcess:
        return True


def end_process(process: psutil.Process, seconds: float) -> None:
    """Terminate the process, and kill it if it has not ended within `seconds`."""
    if not ask_to_end(process, signal.SIGTERM, seconds):
        ask_to_end(process, signal.SIGKILL, _KILL_SECONDS)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether the process has this working folder."""
    try:
        return Path(process.cwd()) == folder
    except psutil.AccessDenied:
        # The root of a container may not see it of other users. A group that is on no list marks a service as well.
        group = folder.stat().st_gid
        return is_own_number(group) and bool(process.gids().real == group)


def _has_ended(process: psutil.Process) -> bool:
    # In a container without an init process, ended processes stay zombies.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
