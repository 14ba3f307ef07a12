"""Server processes that outlive the command that started them: how they are found, awaited, run and ended."""

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from streamworkers.errors import ServiceUnreachableError, UsageError

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
        if process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == folder:
            return process
    except (OSError, ValueError, psutil.Error):
        return None
    return None


def processes_in(folder: Path, name: str | None = None) -> list[psutil.Process]:
    """The live processes with this working folder, and this name if one is given."""
    found = []
    for process in psutil.process_iter():
        try:
            is_there = Path(process.cwd()) == folder and process.status() != psutil.STATUS_ZOMBIE
            if is_there and name in (None, process.name()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def processes_given(name: str, path: Path) -> list[psutil.Process]:
    """The live processes of that name with `path` as an argument."""
    return [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == name and str(path) in (process.info["cmdline"] or ())
    ]


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


def end_process(process: psutil.Process, seconds: float) -> None:
    """Terminate the process, and kill it if it has not ended within `seconds`."""
    try:
        process.terminate()
        if not wait_until(lambda: _has_ended(process), seconds):
            process.kill()
            wait_until(lambda: _has_ended(process), _KILL_SECONDS)
    except psutil.NoSuchProcess:
        return


def _has_ended(process: psutil.Process) -> bool:
    # In a container without an init process, ended processes stay zombies.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass(frozen=True, slots=True)
class Account:
    """The system account that runs PostgreSQL, which does not run as root.

    `user` is None for the current user, or `nobody` if that is root. With `searching`, the account keeps root's
    capability to pass through folders (CAP_DAC_READ_SEARCH), for data or programs below a folder that is closed to
    other users; no permissions have to be changed.
    """

    user: str | None
    searching: bool = False

    @classmethod
    def for_paths(cls, paths: Sequence[Path]) -> "Account":
        """The account that can use the programs and data at `paths`. Raises UsageError if there is none."""
        if os.geteuid() != 0:
            return cls(None)
        closed = [folder for path in paths for folder in path.resolve().parents if not _others_may_search(folder)]
        if closed and shutil.which("setpriv") is None:
            raise UsageError(
                f"PostgreSQL does not run as root, and other users cannot reach it through {closed[0]}:"
                " run as an ordinary user, or `chmod o+x` that folder"
            )
        return cls("nobody", bool(closed))

    def run(self, command: Sequence[str | Path], *, timeout_seconds: float) -> None:
        """Run a program as this account and wait for it.

        Raises ServiceUnreachableError, with the end of its output, if it fails or does not end in time.
        """
        words = [str(word) for word in command]
        if self.searching:
            words = [
                *("setpriv", f"--reuid={self.user}", "--clear-groups", "--securebits=+no_setuid_fixup"),
                *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", *words),
            ]
        try:
            done = subprocess.run(  # noqa: S603  # fixed programs, no shell
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_seconds,
                check=False,
                user=None if self.searching else self.user,
                extra_groups=[] if self.user and not self.searching else None,
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"},
            )
        except subprocess.TimeoutExpired:
            raise ServiceUnreachableError(f"{Path(command[0]).name} did not end within {timeout_seconds:g} s") from None
        if done.returncode != 0:
            raise ServiceUnreachableError(f"{Path(command[0]).name} failed: {done.stdout.strip()[-800:]}")

    def own(self, folder: Path) -> None:
        """Make this account the owner of a folder."""
        if self.user is not None:
            shutil.chown(folder, self.user)


def _others_may_search(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)
