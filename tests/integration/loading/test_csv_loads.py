"""A broken file of the provider `csv` costs those items that it is for, once: a symbol, a timeframe, or the run."""

from pathlib import Path
from typing import Any

import pytest

from harness import run_status
from loading import Loader, counts, results
from streamworkers.loading.outages import list_outages

WORDS: dict[str, Any] = {"provider": "csv", "first": "2025-11-17", "last": "2025-11-18"}
SYMBOLS = ("AAA", "BBB", "CCC")
ROWS = "2025-11-17,10,12,9,11,100\n2025-11-18,10,12,9,11,100\n"
GOOD = f"date,open,high,low,close,volume\n{ROWS}"
GOOD_OF_ALL = "symbol,date,open,high,low,close,volume\n" + "".join(
    f"{symbol},{row}\n" for symbol in SYMBOLS for row in ROWS.split()
)


def _attempts(loader: Loader) -> dict[str, int]:
    return dict(loader.connection.execute("SELECT symbol, max(attempt) FROM run_items GROUP BY 1").fetchall())


def test_a_broken_file_of_all_symbols_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    path = tmp_path / "all.csv"
    path.write_text("<html>")
    monkeypatch.setenv("STREAMWORKERS_CSV_PATH", str(path))
    run = loader.start(*SYMBOLS, timeframes=("day", "week"), **WORDS)
    loader.consumer.work("load", count=1)
    assert run_status(loader.connection, run) == "FAILED"
    found = results(loader.connection, run)
    assert sorted(state for state, _, _ in found.values()) == ["cancelled"] * 5 + ["failed"]
    assert {error for _, _, error in found.values()} == {
        f"SourceError: {path} is a web page, not CSV: the download may have asked for a login or failed"
    }
    path.write_text(GOOD_OF_ALL)
    assert run_status(loader.connection, loader.load(*SYMBOLS, **WORDS)) == "COMPLETED"
    assert counts(loader.connection)["day"] == dict.fromkeys(SYMBOLS, 2)


def test_a_broken_file_of_one_symbol_costs_that_one_and_one_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    for symbol in SYMBOLS:
        (tmp_path / f"{symbol}.csv").write_text("{}" if symbol == "BBB" else GOOD)
    monkeypatch.setenv("STREAMWORKERS_CSV_PATH", str(tmp_path / "{symbol}.csv"))
    run = loader.load(*SYMBOLS, **WORDS)
    found = {symbol: (state, error) for (symbol, _), (state, _, error) in results(loader.connection, run).items()}
    assert found.pop("BBB") == ("failed", f"UnsupportedError: {tmp_path}/BBB.csv is JSON, not CSV")
    assert {state for state, _ in found.values()} == {"completed"}
    assert _attempts(loader) == dict.fromkeys(SYMBOLS, 1)


def test_a_broken_file_of_a_timeframe_costs_that_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    (tmp_path / "day.csv").write_text(GOOD_OF_ALL)
    (tmp_path / "1min.csv").write_text("")
    monkeypatch.setenv("STREAMWORKERS_CSV_PATH", str(tmp_path / "{timeframe}.csv"))
    run = loader.load(*SYMBOLS, timeframes=("day", "1min"), **WORDS)
    states = {frame: set[str]() for frame in ("day", "1min")}
    for (_, frame), (state, _, _) in results(loader.connection, run).items():
        states[frame].add(state)
    assert states == {"day": {"completed"}, "1min": {"failed"}}
    assert _attempts(loader) == dict.fromkeys(SYMBOLS, 1)


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file whose reading fails")
def test_a_run_waits_for_a_disk_that_cannot_be_read_now_and_spends_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    path = tmp_path / "all.csv"
    path.symlink_to("/proc/self/mem")
    monkeypatch.setenv("STREAMWORKERS_CSV_PATH", str(path))
    run = loader.start(*SYMBOLS, **WORDS)
    loader.consumer.work("load")
    (outage,) = list_outages(loader.connection)
    assert (outage.provider, outage.error) == ("csv", f"{path} cannot be read: Input/output error")
    assert {state for state, _, _ in results(loader.connection, run).values()} == {"pending"}
    path.unlink()
    path.write_text(GOOD_OF_ALL)
    loader.consumer.work_until_empty("load")
    assert run_status(loader.connection, run) == "COMPLETED"
    assert _attempts(loader) == dict.fromkeys(SYMBOLS, 1)
    assert list_outages(loader.connection) == []
