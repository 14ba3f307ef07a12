"""The disk of the spool is full: the items of the load fail by that reason, and are loaded once there is room."""

import tempfile
from pathlib import Path

import pytest

from faults.small_disk import small_disk
from harness import items_of, run_status
from loading import NOW, Loader, counts, massive
from streamworkers.loading import spool
from streamworkers_fakes.massive import FakeMassive


def test_a_full_disk_fails_the_items_by_that_reason_and_nothing_is_stored_in_part(
    monkeypatch: pytest.MonkeyPatch, loader: Loader, tmp_path: Path
) -> None:
    monkeypatch.setattr(spool, "_MEMORY_BYTES", 1)
    with small_disk(tmp_path, 1) as disk, massive(monkeypatch, FakeMassive(now=NOW)):
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        filler = disk / "filler"
        filler.write_bytes(bytes((1 << 20) - 4096))
        words = {"first": "2025-11-03", "last": "2025-11-21"}
        run = loader.load("IBM", timeframes=("1min",), **words)
        [(status, _, error)] = items_of(loader.connection, run).values()
        assert (status, run_status(loader.connection, run)) == ("failed", "FAILED")
        assert error is not None
        assert "No space left on device" in error
        assert counts(loader.connection) == {}
        filler.unlink()
        assert run_status(loader.connection, loader.load("IBM", timeframes=("1min",), **words)) == "COMPLETED"
    assert counts(loader.connection).keys() == {"1min"}
