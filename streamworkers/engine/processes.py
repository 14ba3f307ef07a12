"""The children of this process: what the kernel promises about them, whether there are any, and how they end.

On Linux a *subreaper* adopts those of its descendants whose parent has ended, so that a process that was left behind,
also one that became a daemon, stays in reach of what is responsible for it. Elsewhere only direct children are.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection, Container, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

END_SECONDS = 3.0
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_POLL_SECONDS = 0.02


def has_kernel_support() -> bool:
    """True on a Linux that knows subreapers (3.4) and descriptors of processes (5.3)."""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
        become_subreaper()
    except OSError:
        return False
    return True


def become_subreaper() -> None:
    """Let this process adopt descendants whose parent has ended (Linux). Children do not inherit this."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent_pid: int | None = None) -> None:
    """Let the kernel kill this process when its parent ends (Linux), also while it holds the interpreter lock.

    Exits at once if `parent_pid` has ended already.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if parent_pid is not None and os.getppid() != parent_pid:
        os._exit(os.EX_OSERR)


def set_process_name(name: str) -> None:
    """Set the name that `ps -o comm` and `top` show (Linux): 15 characters at most."""
    _prctl(_PR_SET_NAME, name.encode())


def _prctl(option: int, value: int | bytes) -> None:
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3]
    if libc.prctl(option, *words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl {option}: {os.strerror(number)}")


def has_children() -> bool:
    """True if this process has children, ended ones that were not reaped included; one system call on Linux."""
    if sys.platform != "linux":
        return bool(read_children())
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def read_children() -> set[int]:
    """Return the process ids of this process's children."""
    files = list(Path("/proc/self/task").glob("*/children"))
    if not files:  # not Linux, or a kernel without this file
        return {child.pid for child in psutil.Process().children()}
    found: set[int] = set()
    for file in files:
        with suppress(OSError):  # of a thread that has ended
            found.update(map(int, file.read_text().split()))
    return found


def end_children(spared: Container[int] = (), seconds: float = END_SECONDS) -> tuple[int, bool]:
    """Kill and reap all children but the spared ones, and those that it adopts from them, until there are none.

    Returns how many were killed, and whether none is left: a child of another user cannot be killed, and something may
    start new ones all the time, so this ends after `seconds`.
    """
    killed: set[int] = set()
    deadline = time.monotonic() + seconds
    while children := {pid for pid in read_children() if pid not in spared}:
        for pid in children:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= children
        _reap(children, deadline)
        if time.monotonic() >= deadline:
            return len(killed), False
    return len(killed), True


def _reap(pids: Iterable[int], deadline: float) -> None:
    """Wait until these children have ended, and reap them: first let `multiprocessing` reap those that it knows."""
    left, pause = set(pids), 0.0005
    while (left := {pid for pid in left if not _has_ended(pid)}) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_POLL_SECONDS)
    if (module := sys.modules.get("multiprocessing")) is not None:
        module.active_children()
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _has_ended(pid: int) -> bool:
    if sys.platform != "linux":
        return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


class AdoptedReaper:
    """Reaps adopted children that have ended, of which a subreaper or PID 1 may have many.

    Another thread may be about to wait for one that it has started itself, so only those are reaped that have been
    there for a while.
    """

    SECONDS = 10.0

    def __init__(self) -> None:
        self._ended: set[int] = set()
        self._due = 0.0

    def turn(self, now: float, known: Container[int]) -> None:
        """Reap what has ended before the turn before, but for children that are known to be waited for."""
        if now < self._due or not has_children():
            return
        ended = {pid for pid in read_children() if pid not in known and _has_ended(pid)}
        for pid in ended & self._ended:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        self._ended, self._due = ended - self._ended, now + self.SECONDS


def end_all_children(spared: Collection[int] = ()) -> tuple[int, bool]:
    """Do as `end_children`, and let the helpers that `multiprocessing` started in this process end by themselves.

    They are not counted. If they were killed, the next use of `multiprocessing` would warn or fail.
    """
    helpers = _multiprocessing_helpers()
    killed, is_done = end_children({*spared, *helpers})
    while helpers and is_done:
        # A helper ends when its other users have: the first one's processes use the second.
        helpers.pop(next(iter(helpers)))._stop()
        more, is_done = end_children({*spared, *helpers})
        killed += more
    return killed, is_done


def _multiprocessing_helpers() -> dict[int, Any]:
    """Return the helpers among the children of this process, by process id, in the order in which they can end."""
    children, found = read_children(), {}
    for module, attribute, pid_attribute in (
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
    ):
        helper: Any = getattr(sys.modules.get(module), attribute, None)
        if (pid := getattr(helper, pid_attribute, None)) in children:
            found[pid] = helper
    return found
