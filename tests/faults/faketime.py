"""Debian's libfaketime: a Redis whose clock a test sets, and a PostgreSQL whose clock is wrong."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from debian_packages import unpacked
from streamworkers.config import Settings
from streamworkers.embedded import EmbeddedServices
from streamworkers.embedded.postgres_server import find_postgres_programs
from streamworkers.embedded.redis_server import find_redis_server

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
    redis = find_redis_server(settings.embedded_redis_server)
    _wrap(redis, folder / "redis-server", {"FAKETIME_TIMESTAMP_FILE": str(offset)})
    programs = folder / "postgres"
    programs.mkdir()
    for program in find_postgres_programs(settings.embedded_postgres_bin).iterdir():
        _wrap(program, programs / program.name, {"FAKETIME": f"{postgres_seconds:+d}s"})
    folder.chmod(0o755)
    own = Settings(
        data_dir=folder / "data", embedded_redis_server=folder / "redis-server", embedded_postgres_bin=programs
    )
    return EmbeddedServices(own), set_clock


def _wrap(program: Path, script: Path, clock: Mapping[str, str]) -> None:
    """Write a script that runs a program by another clock, what it starts included."""
    [library] = unpacked("faketime", "faketime").glob("**/libfaketimeMT.so.1")
    words = {"LD_PRELOAD": str(library), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", **clock}
    exports = " ".join(f"{name}={shlex.quote(value)}" for name, value in words.items())
    script.write_text(f'#!/bin/sh\n{exports} exec {shlex.quote(str(program))} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
