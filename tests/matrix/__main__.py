"""`python -m matrix [redis-7.0] [postgres-15] [python-3.12] … [-- PYTEST WORDS]`.

Of a kind that is not named, all versions run: this Python on every pair of servers, other Pythons on the first pair.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from matrix.interpreters import OWN_PYTHON, PYTHONS, python_named
from matrix.programs import POSTGRES, POSTGRES_VARIABLE, REDIS, REDIS_VARIABLE
from streamworkers.errors import UnknownNameError, UsageError

REPOSITORY = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Result:
    """How the suite went on one pair of servers and one Python."""

    redis: str
    postgres: str
    code: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    python: str = OWN_PYTHON
    is_missing: bool = False

    @property
    def is_good(self) -> bool:
        """True when tests ran and none failed, or when the machine does not have that Python."""
        return self.is_missing or (self.code == 0 and self.passed > 0 and self.failed == 0)


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of versions to run, by the names given. Raises UnknownNameError."""
    for name in names:
        if name not in (*REDIS, *POSTGRES, *PYTHONS):
            raise UnknownNameError("version", name, (*REDIS, *POSTGRES, *PYTHONS))
    redis = [name for name in REDIS if name in names] or list(REDIS)
    postgres = [name for name in POSTGRES if name in names] or list(POSTGRES)
    return [(one, other) for one in redis for other in postgres]


def combinations(names: Sequence[str]) -> list[tuple[str, str, str]]:
    """(Python, Redis, PostgreSQL) of each run, by the names given. Raises UnknownNameError."""
    chosen = pairs(names)
    if pythons := [name for name in PYTHONS if name in names]:
        return [(python, *pair) for python in pythons for pair in chosen]
    return [(OWN_PYTHON, *pair) for pair in chosen] + [(python, *chosen[0]) for python in PYTHONS[1:]]


def run_suite(python: str, redis: str, postgres: str, programs: Mapping[str, Path], words: Sequence[str]) -> Result:
    """Run pytest on a Python with the embedded services of a pair."""
    click.echo(f"\n{python}, {redis}, {postgres}")
    interpreter = python_named(python)
    if interpreter is None:
        click.echo(f"skipped: no interpreter {python} on this machine")
        return Result(redis, postgres, 0, python=python, is_missing=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")},
        REDIS_VARIABLE: str(programs[redis]),
        POSTGRES_VARIABLE: str(programs[postgres]),
    }
    with tempfile.TemporaryDirectory(prefix="sw-matrix-") as folder:
        report = Path(folder) / "report.xml"
        command = [str(interpreter), "-m", "pytest", f"--junit-xml={report}", *words]
        code = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
        return replace(result_of(redis, postgres, code, report), python=python)


def result_of(redis: str, postgres: str, code: int, report: Path) -> Result:
    """The counts in pytest's report; none when it did not come to write one."""
    if not report.is_file():
        return Result(redis, postgres, code)
    suites = list(ET.parse(report).getroot().iter("testsuite"))

    def count(name: str) -> int:
        return sum(int(suite.get(name, 0)) for suite in suites)

    failed, skipped = count("failures") + count("errors"), count("skipped")
    seconds = sum(float(suite.get("time", 0)) for suite in suites)
    return Result(redis, postgres, code, count("tests") - failed - skipped, failed, skipped, seconds)


def table(results: Sequence[Result]) -> str:
    """All results, a line each."""
    lines = [f"{'Python':<13}{'Redis':<11}{'PostgreSQL':<13}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    for result in results:
        counts = f"{result.passed:>8}{result.failed:>8}{result.skipped:>9}{result.seconds:>9.0f}"
        verdict = "" if result.is_good else f"  pytest ended with {result.code}"
        if result.is_missing:
            verdict = "  skipped: no such interpreter on this machine"
        lines.append(f"{result.python:<13}{result.redis:<11}{result.postgres:<13}{counts}{verdict}")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Fetch what is missing, run, and print the table; 1 when a test failed, 2 when something is missing."""
    cut = words.index("--") if "--" in words else len(words)
    try:
        chosen = combinations(words[:cut])
        finders = {**REDIS, **POSTGRES}
        servers = sorted({name for _, *pair in chosen for name in pair})
        programs = {name: finders[name]() for name in servers}
        results = [run_suite(*names, programs, words[cut + 1 :]) for names in chosen]
    except UsageError as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    click.echo("\n" + table(results))
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
