"""The files of migrations can be applied: two pieces of work that each took the next number do not go together."""

from pathlib import Path

import pytest

from streamworkers.errors import MigrationError
from streamworkers.migrations import migrations_folder, read_migrations


def test_the_numbers_of_migrations_run_without_gaps() -> None:
    assert len(read_migrations(migrations_folder())) >= 18


def test_a_number_that_is_taken_twice_is_found(tmp_path: Path) -> None:
    for name in ("0001_first.sql", "0001_second.sql"):
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=r"'0001_second.sql' should have number 0002"):
        read_migrations(tmp_path)
