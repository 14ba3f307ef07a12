"""`python -m matrix [redis-7.0] [postgres-15] … [-- PYTEST WORDS]`: a version of a kind that is not named is all."""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from matrix.programs import POSTGRES, POSTGRES_VARIABLE, REDIS, REDIS_VARIABLE
from streamworkers.errors import UnknownNameError, UsageError

REPOSITORY = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Result:
    """How the suite went on one pair."""

    redis: str
    postgres: str
    code: int
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """True when tests ran and none failed."""
        return self.code == 0 and self.passed > 0 and self.failed == 0


def pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of versions to run, by the names given. Raises UnknownNameError."""
    for name in names:
        if name not in REDIS and name not in POSTGRES:
            raise UnknownNameError("version", name, (*REDIS, *POSTGRES))
    redis = [name for name in REDIS if name in names] or list(REDIS)
    postgres = [name for name in POSTGRES if name in names] or list(POSTGRES)
    return [(one, other) for one in redis for other in postgres]


def run_suite(redis: str, postgres: str, programs: Mapping[str, Path], words: Sequence[str]) -> Result:
    """Run pytest with the embedded services of a pair."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMWORKERS_")},
        REDIS_VARIABLE: str(programs[redis]),
        POSTGRES_VARIABLE: str(programs[postgres]),
    }
    click.echo(f"\n{redis}, {postgres}")
    with tempfile.TemporaryDirectory(prefix="sw-matrix-") as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junit-xml={report}", *words]
        code = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode
        return result_of(redis, postgres, code, report)


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
    lines = [f"{'Redis':<11}{'PostgreSQL':<13}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    for result in results:
        counts = f"{result.passed:>8}{result.failed:>8}{result.skipped:>9}{result.seconds:>9.0f}"
        verdict = "" if result.is_good else f"  pytest ended with {result.code}"
        lines.append(f"{result.redis:<11}{result.postgres:<13}{counts}{verdict}")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """Fetch what is missing, run, and print the table; 1 when a test failed, 2 when something was not to be had."""
    cut = words.index("--") if "--" in words else len(words)
    try:
        chosen = pairs(words[:cut])
        finders = {**REDIS, **POSTGRES}
        programs = {name: finders[name]() for name in sorted({name for pair in chosen for name in pair})}
    except UsageError as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    results = [run_suite(redis, postgres, programs, words[cut + 1 :]) for redis, postgres in chosen]
    click.echo("\n" + table(results))
    return 0 if all(result.is_good for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
