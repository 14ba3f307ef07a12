"""`streamworkers jobs stubs`: a module with the types of the jobs that the pool has recorded."""

from pathlib import Path
from typing import Any

import pytest

from streamworkers.cli.main import main
from streamworkers.client import TypedJob
from streamworkers.database import Connection


def _run(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["jobs", "stubs", *words])
    return ended.value.code


def test_stubs_are_written_or_printed(
    database_url: str,
    connection: Connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", database_url)
    file = tmp_path / "pool_jobs.py"
    assert _run(str(file)) == 0
    assert capsys.readouterr().err.endswith(f"jobs written to {file}\n")
    assert _run() == 0
    assert capsys.readouterr().out == file.read_text()
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    assert names["LEDGER_ENTRY"] == TypedJob("ledger_entry")
    assert names["LedgerEntryParameters"].__annotations__.keys() == {"milliseconds", "hold", "hold_from"}
    assert names["AnalysisParameters"].__annotations__.keys() >= {"last_bars", "max_bars"}

    assert _run(str(tmp_path / "nowhere" / "jobs.py")) == 2
    assert capsys.readouterr().err.endswith("jobs.py cannot be written: No such file or directory\n")
    connection.execute("DELETE FROM job_types")
    assert _run() == 2
    assert capsys.readouterr().err == "Error: no job is known: no worker or scheduler has run in the last 7 days\n"
