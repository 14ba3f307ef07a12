"""Debian's libfaketime: a Redis whose clock a test sets, and a PostgreSQL whose clock is wrong."""

import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from debian_packages import unpacked
from streamworkers.config import Settings
from streamworkers.embedded import EmbeddedServices
from streamworkers.embedded.programs import (
    find_postgres_programs,
    find_redis_server,
    reachable_postgres,
    reachable_redis,
)

SetClock = Callable[[int], None]


def services_with_own_clocks(folder: Path, postgres_seconds: int) -> tuple[EmbeddedServices, SetClock]:
    """Services in `folder` whose PostgreSQL is ahead by so many seconds, and what sets Redis' clock: to so many, too.

    Raises UsageError where Debian's package cannot be had.
    """
    offset, settings = folder / "offset", Settings()

    def set_clock(seconds: int) -> None:
        written = offset.with_suffix(".new")
        written.write_text(f"{seconds:+d}s\n", encoding="utf-8")
        written.rename(offset)  # so that it is never read half-written

    set_clock(0)
    # The services of root are other users, who can reach what is in this folder.
    folder.chmod(0o755)
    [library] = unpacked("faketime", "faketime").glob("**/libfaketimeMT.so.1")
    library = Path(shutil.copy(library, folder))
    redis = reachable_redis(find_redis_server(settings.embedded_redis_server), folder / "redis-copy")
    _wrap(redis, folder / "redis-server", library, {"FAKETIME_TIMESTAMP_FILE": str(offset)})
    programs = folder / "postgres"
    programs.mkdir()
    found = find_postgres_programs(settings.embedded_postgres_bin)
    for program in reachable_postgres(found, folder / "postgres-copy").iterdir():
        _wrap(program, programs / program.name, library, {"FAKETIME": f"{postgres_seconds:+d}s"})
    own = Settings(
        data_dir=folder / "data", embedded_redis_server=folder / "redis-server", embedded_postgres_bin=programs
    )
    return EmbeddedServices(own), set_clock


def _wrap(program: Path, script: Path, library: Path, clock: Mapping[str, str]) -> None:
    """Write a script that runs a program by another clock, what it starts included."""
    words = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", **clock}
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in words.items())
    script.write_text(f'#!/bin/sh\n{exports} exec {shlex.quote(str(program))} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
