"""Days of listing explain why bars are not there, and save calls; in some nights all stored bars are checked."""

from datetime import date, timedelta
from typing import Any

import pytest

from harness import run_status
from loading import NEW_YORK, NOW, THIRTY, Loader, massive, results, stored_bars
from streamworkers.loading.coverage import compute_coverage
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.market.calendar.symbol_calendars import CalendarRules
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers_fakes.massive import (
    FakeCorrection,
    FakeListings,
    FakeMassive,
    FakeRename,
    RunningFakeMassive,
    parse_plan,
)

SYMBOLS = ("FULL", "GONE", "IPO", "NEW", "OLD", "THIN")
LISTINGS = FakeListings(
    listed_from={"IPO": date(2025, 10, 14)},
    delisted_after={"GONE": date(2025, 11, 4)},
    thin={"THIN": 0.6},
    renames=(FakeRename("OLD", "NEW", date(2025, 10, 20)),),
)
WORDS: dict[str, Any] = {"first": "2025-10-01", "last": "2025-11-21"}


def _paths(server: RunningFakeMassive, part: str) -> list[str]:
    return [call.path for call in server.calls if part in call.path]


def _known(loader: Loader) -> dict[str, tuple[date | None, date | None]]:
    rows = loader.connection.execute("SELECT symbol, listed_from, delisted_after FROM listings")
    return {symbol: (first, last) for symbol, first, last in rows}


def test_listings_are_asked_for_where_bars_begin_late_or_end_early(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, listings=LISTINGS)) as server:
        run = loader.load(*SYMBOLS, **WORDS)
        asked = {path.partition("?")[0].split("/")[4] for path in _paths(server, "/reference/tickers/")}
        bars = [path.split("/")[4] for path in _paths(server, "/range/")]
    assert run_status(loader.connection, run) == "COMPLETED"
    assert asked == {"GONE", "IPO", "NEW", "OLD"}
    assert _known(loader) == {
        "GONE": (None, date(2025, 11, 4)),
        "IPO": (date(2025, 10, 14), None),
        "NEW": (date(2025, 10, 20), None),
        "OLD": (None, date(2025, 10, 19)),
    }
    # What is explained is not asked for a second time; what is missing in the middle of THIN is.
    assert sorted(bars) == sorted([*SYMBOLS, "THIN"])
    found = {symbol: result or {} for (symbol, _), (_, result, _) in results(loader.connection, run).items()}
    assert found["GONE"]["delisted_after"] == "2025-11-04"
    assert found["IPO"]["listed_from"] == "2025-10-14"
    assert not any("missing_bars" in result for result in found.values())
    assert {symbol for symbol, result in found.items() if "absent_bars" in result} == {"THIN"}
    span, calendars = Span(date(2025, 10, 1), date(2025, 11, 21)), CalendarRules({"*": "XNYS"})
    for frame in ("day", "hour"):  # of hours nothing was loaded: only days on which a symbol was listed are missing
        rows = compute_coverage(
            loader.connection, SYMBOLS, TIMEFRAMES[frame], span, LoadRules(now=NOW, hour_anchor="open"), calendars
        )
        assert {row.symbol for row in rows if row.missing} == (set() if frame == "day" else set(SYMBOLS))
        by_symbol = {row.symbol: row.expected for row in rows}
        assert by_symbol["GONE"] < by_symbol["FULL"]
        assert by_symbol["OLD"] + by_symbol["NEW"] == by_symbol["FULL"]


def test_nothing_is_asked_of_a_delisted_symbol_until_its_listing_is_old(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, listings=LISTINGS)) as server:
        loader.load("GONE", timeframes=("day", "week"), **WORDS)
        server.forget_calls()
        run = loader.load("GONE", timeframes=("day", "week"))
        assert _paths(server, "/range/") == []
        assert results(loader.connection, run)["GONE", "day"][1] == {
            "bars": 0, "why": "GONE was delisted after 2025-11-04"
        }  # fmt: skip
        run = loader.load("GONE", first="2025-11-10", last="2025-11-21")
        assert run_status(loader.connection, run) == "COMPLETED"
        run = loader.load("IPO", first="2025-09-01", last="2025-09-30")
        assert results(loader.connection, run)["IPO", "day"][1] == {
            "bars": 0, "listed_from": "2025-10-14", "why": "IPO is listed since 2025-10-14"
        }  # fmt: skip
        loader.connection.execute("UPDATE listings SET asked_at = now() - interval '31 days'")
        server.forget_calls()
        loader.load("GONE")
        assert len(_paths(server, "/range/")) == 1
        assert len(_paths(server, "/reference/tickers/GONE")) == 1
        server.forget_calls()
        loader.load("GONE")
        assert server.calls == [] or _paths(server, "GONE") == []


def test_a_symbol_that_is_listed_again_is_delisted_no_more(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, listings=LISTINGS)):
        loader.load("GONE", **WORDS)
    loader.connection.execute("UPDATE listings SET asked_at = now() - interval '31 days'")
    with massive(monkeypatch, FakeMassive(now=NOW)):
        loader.load("GONE")
    assert _known(loader) == {}
    assert len(stored_bars(loader.connection, "day")) == 40


def test_a_plan_without_listings_is_asked_once(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    fake = FakeMassive(now=NOW, listings=LISTINGS, plan=parse_plan("unlimited,without=ticker"))
    with massive(monkeypatch, fake, load_threads=1) as server:
        run = loader.load(*SYMBOLS, **WORDS)
        assert len(_paths(server, "/reference/tickers/")) == 1
    assert run_status(loader.connection, run) == "COMPLETED"
    assert _known(loader) == {}


def test_listings_are_not_asked_for_with_a_setting_of_none(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, listings=LISTINGS), load_listing_days=0) as server:
        run = loader.load(*SYMBOLS, **WORDS)
        assert _paths(server, "/reference/tickers") == []
    assert run_status(loader.connection, run) == "COMPLETED"


def test_a_correction_of_an_old_bar_is_found_within_the_nights_of_the_check(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    nights, symbols = 5, THIRTY[:6]
    first = NOW.replace(day=3)  # a Monday
    corrections = tuple(FakeCorrection(symbol, date(2025, 9, 10), 1.01, NOW.replace(day=4)) for symbol in symbols)
    fake = FakeMassive(now=first, symbols=symbols, listings=FakeListings(corrections=corrections))
    with massive(monkeypatch, fake, load_check_nights=nights, load_grouped_from=1) as server:
        loader.load(*symbols, now=first, first="2025-09-02", last="2025-11-03")
        calls, before = [], stored_bars(loader.connection, "day")
        for night in range(1, nights + 1):
            now = first + timedelta(days=night if night < 5 else 7)
            server.set_now(now.astimezone(NEW_YORK))
            server.forget_calls()
            loader.load(*symbols, now=now)
            calls.append(len(_paths(server, "/range/")))
    after = {row[:2]: row for row in stored_bars(loader.connection, "day")}
    changed = {row[0] for row in before if after[row[:2]] != row}
    assert changed == set(symbols)
    assert sum(calls) == len(symbols)  # each symbol once; the new days come by grouped calls
    rows = loader.connection.execute("SELECT DISTINCT symbol FROM series_changes WHERE kind = 'correct' ORDER BY 1")
    assert [symbol for (symbol,) in rows] == list(symbols)
