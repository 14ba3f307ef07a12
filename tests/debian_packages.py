"""Programs of Debian packages without installing them: unpacked into a folder of the repository, which git ignores."""

import fcntl
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from patience import patient
from streamworkers.errors import UsageError

FOLDER = Path(__file__).parent.parent / ".matrix"
_APT_SECONDS = 600.0
_EXTRACT_SECONDS = 120.0


def unpacked(package: str, name: str, folder: Path = FOLDER) -> Path:
    """`folder`/`name` with a Debian package in it, and whatever of what that needs the machine has not.

    It is fetched once: of several processes that ask, one does, and the others wait. Raises UsageError that says what
    is missing, or why it cannot be had.
    """
    target = folder / name
    if target.is_dir():
        return target
    if missing := [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]:
        raise UsageError(
            f"{name} is not on this machine, and to fetch Debian's package {package} without installing it takes"
            f" {missing[0]}, which is not there either: install {name} yourself"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{name}.lock"):
        if not target.is_dir():
            unfinished = folder / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _fetch(package, unfinished)
            unfinished.rename(target)
    return target


def prometheus_programs() -> tuple[Path, Path]:
    """`prometheus` and `promtool`: those on the PATH, else Debian's. Raises UsageError where neither is to be had."""
    found = [shutil.which(program) for program in ("prometheus", "promtool")]
    if found[0] is not None and found[1] is not None:
        return Path(found[0]), Path(found[1])
    programs = unpacked("prometheus", "prometheus") / "usr" / "bin"
    for program in ("prometheus", "promtool"):
        if not (programs / program).is_file():
            raise UsageError(f"{programs} has no {program}: remove {programs.parent.parent}, and it is fetched again")
    return programs / "prometheus", programs / "promtool"


def _fetch(package: str, folder: Path) -> None:
    """Download and unpack a package; package lists that are missing or old are fetched once."""
    archives = folder / "archives"
    archives.mkdir(parents=True)
    try:
        _download(package, archives)
    except UsageError:
        output_of(["apt-get", "--quiet", "update"], archives, _APT_SECONDS)
        _download(package, archives)
    for archive in sorted(archives.glob("*.deb")):
        output_of(["dpkg", "--extract", archive, folder], archives, _EXTRACT_SECONDS)
    shutil.rmtree(archives)


def _download(package: str, archives: Path) -> None:
    """Download what an installation would; the package itself, when it is installed already."""
    plan = output_of(["apt-get", "--simulate", "--no-install-recommends", "install", package], archives, _APT_SECONDS)
    names = re.findall(r"^Inst (\S+)", plan, re.MULTILINE) or [package]
    output_of(["apt-get", "download", *names], archives, _APT_SECONDS)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the end of the process gives back, however it ends."""
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def output_of(command: Sequence[str | Path], folder: Path, seconds: float) -> str:
    """What a program prints. Raises UsageError with its last words when it fails, or does not end in time."""
    words, limit = " ".join(str(part) for part in command[:3]), patient(seconds)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"`{words}` did not end within {limit:g} s") from None
    if done.returncode != 0:
        said = " ".join(f"{done.stdout} {done.stderr}".split())[-600:]
        raise UsageError(f"`{words}` failed: {said}")
    return done.stdout
