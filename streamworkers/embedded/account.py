"""Who runs the embedded services: the current user, or, if that is root, a user and a group of their own."""

import grp
import os
import platform
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from streamworkers.errors import ServiceUnreachableError, UsageError

# No distribution, container or directory of users gives these numbers to anybody.
_OWN_NUMBERS = range(0x7000_0000, 0x7FFF_0000)
# A container may have only 65,536 numbers. In those of systemd for such services it runs no others.
_FEW_NUMBERS = range(61_184, 65_520)
_ON_LINUX = platform.system() == "Linux"
_TRIES = 100
_SET_PCAP = 8  # the capability to give up those that a program might get back
_NO_ACCESS = 0o077


@dataclass(frozen=True, slots=True)
class Account:
    """The user and group of one service. `number` is that of both, or None for the current user.

    A number of its own has no name and is on no list. A program of it has no capability, no other group, and no way to
    get more. It does not pass through the folders above its own, which may be closed to all but root, so its programs
    are started in their folder and name it by `place`.
    """

    number: int | None

    @classmethod
    def of(cls, folder: Path) -> "Account":
        """The account of the service with this folder, whose group tells it; a new one if root has none there yet."""
        if os.geteuid() != 0:
            return cls(None)
        known = folder.stat().st_gid if folder.exists() else -1
        return cls(known if is_own_number(known) else _new_number())

    def runs(self, process: psutil.Process) -> bool:
        """Whether the process, if it is still there, is of this account."""
        try:
            return self.number is None or bool(process.uids().real == self.number)
        except psutil.NoSuchProcess:
            return True

    def place(self, folder: Path) -> str:
        """How a program that was started in this folder names it."""
        return str(folder) if self.number is None or not _ON_LINUX else "/proc/self/cwd"

    def run(
        self, command: Sequence[str | Path], *, folder: Path, timeout_seconds: float, user: int | None = None
    ) -> None:
        """Run a program in a folder as this account, or as another user in its group, and wait for it.

        Raises ServiceUnreachableError, with the end of its output, if it fails or does not end in time, and UsageError
        if root lacks what it takes to give up its rights.
        """
        name = Path(command[0]).name
        try:
            done = subprocess.run(  # noqa: S603  # fixed programs, no shell
                [*self._confined(user), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=timeout_seconds,
                check=False,
                cwd=folder,
                umask=_NO_ACCESS,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"},
                **self._identity(user),
            )
        except subprocess.TimeoutExpired:
            raise ServiceUnreachableError(f"{name} did not end within {timeout_seconds:g} s") from None
        if done.returncode != 0:
            raise ServiceUnreachableError(f"{name} failed: {done.stdout.strip()[-800:]}")

    def give(self, folder: Path, *, user: int | None = None) -> None:
        """Make a folder that this account alone can use, or give it one with all that is in it."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.number is None:
            return
        owner = user if user is not None else self.number
        if folder.stat().st_uid != owner:
            for _, folders, files, opened in os.fwalk(folder):
                for name in (*folders, *files):
                    os.chown(name, owner, self.number, dir_fd=opened, follow_symlinks=False)
            os.chown(folder, owner, self.number)
        folder.chmod(0o700)

    def admit(self, folder: Path) -> None:
        """Make a folder of the current user through which this account, and no other, may pass."""
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.number is not None:
            os.chown(folder, 0, self.number)
            folder.chmod(0o710)

    def make_log(self, path: Path) -> None:
        """Make a log of this account in a folder of the current user; one that is there goes on."""
        handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        if self.number is not None:
            os.fchown(handle, self.number, self.number)
        os.close(handle)

    def write(self, path: Path, text: str) -> None:
        """Write a file of this account, in its folder: what it may have put there is replaced, never followed."""
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if self.number is not None:
                os.fchown(handle, self.number, self.number)
            file.write(text)
        unfinished.rename(path)

    def _confined(self, user: int | None) -> list[str]:
        """The words before a command that keep it from having or getting more rights."""
        setpriv = shutil.which("setpriv") if _ON_LINUX else None
        if setpriv is None:
            if self.number is not None and _ON_LINUX:
                raise UsageError(
                    "root runs the embedded services as users of their own, and setpriv, which that takes, is not on"
                    " the PATH: install the package util-linux, or run as an ordinary user"
                )
            return []
        if self.number is None:
            return [setpriv, "--no-new-privs"]
        bounding = ["--bounding-set=-all"] if _has_capability(_SET_PCAP) else []
        identity = [f"--reuid={self.number if user is None else user}", f"--regid={self.number}", "--clear-groups"]
        return [setpriv, *identity, "--inh-caps=-all", "--ambient-caps=-all", *bounding, "--no-new-privs"]

    def _identity(self, user: int | None) -> dict[str, Any]:
        """The same for a system that has neither capabilities nor setpriv."""
        if self.number is None or _ON_LINUX:
            return {}
        return {"user": self.number if user is None else user, "group": self.number, "extra_groups": []}


def is_own_number(number: int) -> bool:
    """Whether a user or group number is one that an Account has made up."""
    return number in _OWN_NUMBERS or number in _FEW_NUMBERS


def named_user() -> int:
    """A user with a name, for programs that insist on one. Raises UsageError if there is none."""
    try:
        return pwd.getpwnam("nobody").pw_uid
    except KeyError:
        raise UsageError(
            "PostgreSQL is not made by root, and this system has no user `nobody`: run as an ordinary user"
        ) from None


def _new_number() -> int:
    numbers = _OWN_NUMBERS if _is_mapped(_OWN_NUMBERS[-1]) else _FEW_NUMBERS
    for _ in range(_TRIES):
        number = numbers[secrets.randbelow(len(numbers))]
        if not _is_taken(number):
            return number
    raise UsageError(f"the users {numbers[0]} to {numbers[-1]} all have names: run as an ordinary user")


def _is_taken(number: int) -> bool:
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
        except KeyError:
            continue
        return True
    return False


def _is_mapped(number: int) -> bool:
    """Whether processes here can be of this user; in a container it may not exist."""
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="utf-8").splitlines()
    except OSError:
        return True
    spans = [[int(word) for word in line.split()] for line in lines]
    return any(first <= number < first + count for first, _, count in spans)


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    [effective] = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    return bool(int(effective, 16) >> number & 1)
