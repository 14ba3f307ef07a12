"""The files of migrations can be applied: two pieces of work that each took the next number do not go together."""

import re
from pathlib import Path

import pytest

from streamworkers.errors import MigrationError
from streamworkers.migration_files import read_migrations
from streamworkers.migrations import STOPS_OLDER, migrations_folder

# What takes something away from processes of the release before, and why it does not.
_TAKES_AWAY = re.compile(
    r"\b(RENAME|DROP\s+(TABLE|COLUMN|VIEW)|ALTER\s+COLUMN\s+\w+\s+(SET\s+DATA\s+)?TYPE)\b", re.IGNORECASE
)
_FIRST_RELEASE = 9
_HARMLESS = {
    28: "a view of the same name and columns takes the place of the table",
    63: "a function goes on dropping partitions that are old",
    48: "a function of the same name and columns takes the place of submit_runs",
}


def test_the_numbers_of_migrations_run_without_gaps() -> None:
    assert len(read_migrations(migrations_folder())) >= 18


def test_a_number_that_is_taken_twice_is_found(tmp_path: Path) -> None:
    for name in ("0001_first.sql", "0001_second.sql"):
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=r"'0001_second.sql' should have number 0002"):
        read_migrations(tmp_path)


def test_a_migration_that_takes_something_away_stops_older_processes() -> None:
    later = read_migrations(migrations_folder())[_FIRST_RELEASE:]
    found = {each.number for each in later if _TAKES_AWAY.search(each.text)}
    assert found == STOPS_OLDER | _HARMLESS.keys(), "add it to STOPS_OLDER, or say here why processes can go on"
