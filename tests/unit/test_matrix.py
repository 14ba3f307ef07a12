"""Which versions the suite runs on, and how their results are shown."""

from pathlib import Path

import pytest

from matrix.__main__ import Result, combinations, main, pairs, result_of, table
from matrix.interpreters import OWN_PYTHON, PYTHONS, find_interpreter

REPORT = '<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1" time="2.5"/></testsuites>'


def test_a_kind_that_is_not_named_is_run_in_all_its_versions() -> None:
    assert len(pairs([])) == 6
    assert pairs(["redis-7.0", "postgres-15"]) == [("redis-7.0", "postgres-15")]
    assert pairs(["postgres-18"]) == [(redis, "postgres-18") for redis in ("redis-8.2", "redis-7.0", "redis-6.2")]


def test_other_pythons_run_on_one_pair_unless_they_are_named() -> None:
    every = combinations([])
    assert [python for python, *_ in every] == [OWN_PYTHON] * 6 + list(PYTHONS[1:])
    assert {"python-3.11", "python-3.12", "python-3.13"} <= {python for python, *_ in every}
    assert combinations(["python-3.13", "redis-7.0", "postgres-15"]) == [("python-3.13", "redis-7.0", "postgres-15")]


def test_a_python_that_the_machine_does_not_have_is_skipped_visibly() -> None:
    assert find_interpreter("3.1") is None
    result = Result("redis-6.2", "postgres-18", 0, python="python-3.99", is_missing=True)
    assert result.is_good
    assert table([result]).splitlines()[1].endswith("skipped: no such interpreter on this machine")


def test_a_version_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["redis-7", "--", "-x"]) == 2
    assert capsys.readouterr().err == "Error: no version is named 'redis-7'; did you mean 'redis-7.0'?\n"


def test_only_a_suite_that_ran_and_did_not_fail_is_good(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    assert result_of("redis-6.2", "postgres-18", 2, report) == Result("redis-6.2", "postgres-18", 2)
    report.write_text(REPORT)
    result = result_of("redis-6.2", "postgres-18", 1, report)
    assert result == Result("redis-6.2", "postgres-18", 1, passed=2, failed=2, skipped=1, seconds=2.5)
    assert not result.is_good
    assert Result("", "", 0, passed=3).is_good
    assert not Result("", "", 0).is_good
    assert table([result]).splitlines()[1].endswith("2       2        1        2  pytest ended with 1")
