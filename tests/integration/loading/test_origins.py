"""Real bars replace invented ones and never the other way, by whichever door they come."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from harness import run_status
from loading import NOW, Loader, counts, massive, results, stored_bars
from streamworkers.loading.provenance import ProvenanceError
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.sample import read_sample
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.bars.text_rows import BarRows
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_import import import_bars
from streamworkers_fakes.massive import FakeMassive

DAY = TIMEFRAMES["day"]
WORDS: dict[str, Any] = {"first": "2025-11-17", "last": "2025-11-21"}


def _origins(loader: Loader) -> list[tuple[Any, ...]]:
    return loader.connection.execute(
        "SELECT symbol, timeframe, provider, origin FROM series_sources ORDER BY 1, 2"
    ).fetchall()


def _renamed(chunks: Iterable[BarRows], symbol: str) -> Iterator[BarRows]:
    return (replace(rows, symbols=[symbol] * len(rows)) for rows in chunks)


def test_invented_bars_are_not_loaded_over_real_ones(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)):
        loader.load("IBM", timeframes=("day", "week"), **WORDS)
    real = stored_bars(loader.connection, "day"), stored_bars(loader.connection, "week")
    for provider, origin in (("synthetic", "invented"), ("sample", "sample")):
        run = loader.load("IBM", "MSFT", timeframes=("day", "week"), provider=provider, first="2012-01-02")
        found = results(loader.connection, run)
        assert found["IBM", "day"][0] == "failed"
        assert found["IBM", "day"][2] == (
            f"ProvenanceError: the stored day bars of IBM are better than those of {provider}, which are {origin} and"
            " never replace them"
        )
        assert found["MSFT", "day"][0] == "completed"
        kept = [[row for row in stored_bars(loader.connection, name) if row[0] == "IBM"] for name in ("day", "week")]
        assert kept == list(real)
        loader.connection.execute("DELETE FROM ohlcv_daily WHERE symbol = 'MSFT'")
        loader.connection.execute("DELETE FROM series_sources WHERE symbol = 'MSFT'")


def test_imported_bars_count_as_real(loader: Loader) -> None:
    load_rows(loader.connection, DAY, generate_bars(1, 5, 1))
    run = loader.load("SYN001", provider="synthetic", **WORDS)
    assert results(loader.connection, run)["SYN001", "day"][0] == "failed"


def test_a_fake_that_confesses_stores_nothing_over_real_bars(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)):
        loader.load("IBM", **WORDS)
    real = stored_bars(loader.connection, "day")
    with massive(monkeypatch, FakeMassive(now=NOW, seed=9, confesses=True)):
        run = loader.load("IBM", "MSFT", **WORDS)
    assert results(loader.connection, run)["IBM", "day"][0] == "failed"
    assert [row for row in stored_bars(loader.connection, "day") if row[0] == "IBM"] == real
    assert _origins(loader) == [("IBM", "day", "massive", "real"), ("MSFT", "day", "massive", "invented")]


def test_real_bars_repair_invented_ones(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    frames = ("day", "week", "month")
    loader.load("IBM", timeframes=frames, provider="synthetic", first="2025-01-02", last="2025-11-21")
    assert counts(loader.connection)["day"]["IBM"] > 200
    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        run = loader.load("IBM", timeframes=frames, **WORDS)
        repaired = {name: stored_bars(loader.connection, name) for name in frames}
        loader.connection.execute("TRUNCATE ohlcv_daily, ohlcv_weekly, ohlcv_monthly, series_sources")
        loader.load("IBM", timeframes=frames, first="2025-01-02", last="2025-11-25")
        assert {name: stored_bars(loader.connection, name) for name in frames} == repaired
        assert server.calls
    assert run_status(loader.connection, run) == "COMPLETED"
    _, result, _ = results(loader.connection, run)["IBM", "day"]
    assert result is not None
    assert result["replaced"] == "invented bars of synthetic"
    assert {origin for *_, origin in _origins(loader)} == {"real"}


def test_commands_store_invented_bars_beside_real_ones_alone(loader: Loader) -> None:
    load_unreal(loader.connection, DAY, generate_bars(2, 5, 1), BarOrigin.INVENTED)
    load_unreal(loader.connection, DAY, generate_bars(2, 5, 2), BarOrigin.INVENTED)  # over its own
    loader.connection.execute("UPDATE series_sources SET origin = 'real' WHERE symbol = 'SYN002'")
    before = stored_bars(loader.connection, "day")
    with pytest.raises(ProvenanceError) as raised:
        load_unreal(loader.connection, DAY, generate_bars(3, 5, 3), BarOrigin.INVENTED)
    assert str(raised.value) == (
        "the stored day bars of SYN002 are better than invented ones, which never replace them"
    )
    assert stored_bars(loader.connection, "day") == before
    load_unreal(loader.connection, DAY, read_sample(), BarOrigin.SAMPLE)
    assert ("IBM", "day", "sample", "sample") in _origins(loader)


def test_an_import_of_real_bars_leaves_no_invented_one(loader: Loader, tmp_path: Path) -> None:
    for name in ("day", "week"):
        load_unreal(loader.connection, TIMEFRAMES[name], generate_bars(2, 30, 1), BarOrigin.INVENTED)
    invented = stored_bars(loader.connection, "day")
    weeks = stored_bars(loader.connection, "week")
    rows = ["2025-11-19,10,12,9,11,100", "2025-11-20,11,13,10,12,200", "2025-11-21,11,10,13,12,200"]
    lines = [
        "symbol,date,open,high,low,close,volume",
        *(f"SYN001,{row}" for row in rows),
        "SYN002,2025-11-21,1,0,2,1,5",
    ]
    (tmp_path / "bars.csv").write_text("\n".join(lines) + "\n")
    numbers = loader.connection.execute("SELECT coalesce(max(n), 0) FROM series_changes").fetchone()
    summary = import_bars(loader.connection, [tmp_path / "bars.csv"], DAY)
    assert (summary.replaced, summary.inserted, summary.updated) == (frozenset({"SYN001"}), 2, 0)
    # Of SYN002, whose only row is bad, everything stays; so do the weeks, of which the file has none.
    stored = stored_bars(loader.connection, "day")
    assert [(*map(str, row[1:2]), *row[2:]) for row in stored if row[0] == "SYN001"] == [
        ("2025-11-19", 10.0, 12.0, 9.0, 11.0, 100), ("2025-11-20", 11.0, 13.0, 10.0, 12.0, 200)
    ]  # fmt: skip
    assert [row for row in stored if row[0] == "SYN002"] == [row for row in invented if row[0] == "SYN002"]
    assert stored_bars(loader.connection, "week") == weeks
    assert [row[:2] for row in _origins(loader)] == [("SYN001", "week"), ("SYN002", "day"), ("SYN002", "week")]
    kinds = loader.connection.execute("SELECT symbol, kind FROM series_changes WHERE n > %s ORDER BY n", numbers)
    assert kinds.fetchone() == ("SYN001", "rebase")
    # They are real now: nothing invented replaces them.
    with pytest.raises(ProvenanceError):
        load_unreal(loader.connection, DAY, generate_bars(1, 5, 1), BarOrigin.INVENTED)


def test_sample_bars_leave_no_invented_one(loader: Loader) -> None:
    load_unreal(loader.connection, DAY, _renamed(generate_bars(1, 5, 1), "IBM"), BarOrigin.INVENTED)
    load_unreal(loader.connection, DAY, read_sample(), BarOrigin.SAMPLE)
    mixed = stored_bars(loader.connection, "day")
    loader.connection.execute("TRUNCATE ohlcv_daily, series_sources")
    load_unreal(loader.connection, DAY, read_sample(), BarOrigin.SAMPLE)
    assert stored_bars(loader.connection, "day") == mixed


def test_of_bars_stored_since_a_load_was_planned_the_better_ones_stay(
    monkeypatch: pytest.MonkeyPatch, loader: Loader, tmp_path: Path
) -> None:
    job: Any = loader.registry["load_ohlcv"]
    save = job.save

    def save_after_another(connection: Any, completed: Any) -> Any:
        load_rows(connection, DAY, generate_bars(1, 5, 1, datetime(2025, 11, 21).date()))  # noqa: DTZ001  # a day
        return save(connection, completed)

    monkeypatch.setattr(job, "save", save_after_another)
    run = loader.start("SYN001", provider="synthetic", **WORDS)
    loader.consumer.work("load")
    assert results(loader.connection, run)["SYN001", "day"][0] != "completed"
