"""Bars that a provider has not are no gaps; one that was lost is, and answers that leave bars out do not complete."""

from datetime import date
from typing import Any

import pytest

from harness import run_status
from loading import NOW, Loader, massive, results, stored_bars
from streamworkers.loading.coverage import compute_coverage, find_gaps
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.market.calendar.symbol_calendars import CalendarRules
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers_fakes.massive import FakeListings, FakeMassive, FakeRename

DAY = TIMEFRAMES["day"]
SYMBOLS = ("FULL", "GONE", "IPO", "NEW", "OLD", "THIN")
LISTINGS = FakeListings(
    listed_from={"IPO": date(2025, 10, 14)},
    delisted_after={"GONE": date(2025, 11, 4)},
    thin={"THIN": 0.6},
    renames=(FakeRename("OLD", "NEW", date(2025, 10, 20)),),
)
WORDS: dict[str, Any] = {"first": "2025-10-01", "last": "2025-11-21"}
SPAN, RULES = Span(date(2025, 10, 1), date(2025, 11, 21)), LoadRules(now=NOW)


def _missing(loader: Loader) -> dict[str, int]:
    rows = compute_coverage(loader.connection, SYMBOLS, DAY, SPAN, RULES, CalendarRules({"*": "XNYS"}))
    return {row.symbol: row.missing for row in rows if row.missing}


def test_only_what_was_lost_is_missing_and_it_is_filled(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, listings=LISTINGS)) as server:
        run = loader.load(*SYMBOLS, **WORDS)
        assert run_status(loader.connection, run) == "COMPLETED"
        found = {symbol: result or {} for (symbol, _), (_, result, _) in results(loader.connection, run).items()}
        assert all("missing_bars" not in result for result in found.values())
        assert {symbol for symbol, result in found.items() if "absent_bars" in result} == {"THIN"}
        whole = stored_bars(loader.connection, "day")
        assert _missing(loader) == {}
        loader.connection.execute("DELETE FROM ohlcv_daily WHERE symbol = 'IPO' AND date = '2025-11-11'")
        assert _missing(loader) == {"IPO": 1}
        assert [gap.bars for gap in find_gaps(loader.connection, "IPO", DAY, SPAN, RULES)] == [1]
        server.forget_calls()
        run = loader.load(*SYMBOLS, **WORDS, only_gaps=True)
        assert run_status(loader.connection, run) == "COMPLETED"
        assert len([call for call in server.calls if "/range/" in call.path]) == 1  # for the bar that was lost
        assert stored_bars(loader.connection, "day") == whole
        assert _missing(loader) == {}


def test_gaps_that_nobody_can_fill_are_asked_for_once(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, listings=LISTINGS)) as server:
        loader.load("GONE", first="2025-10-01", last="2025-10-31")
        run = loader.load("GONE", **WORDS, only_gaps=True)
        assert run_status(loader.connection, run) == "COMPLETED"
        server.forget_calls()
        run = loader.load("GONE", **WORDS, only_gaps=True)
        assert results(loader.connection, run)["GONE", "day"][1] == {
            "bars": 0, "why": "no gap from 2025-10-01 to 2025-11-21"
        }  # fmt: skip
        assert [call for call in server.calls if "/range/" in call.path] == []


@pytest.mark.parametrize("name", ["truncated_bars", "clipped_bars", "missing_bars"])
def test_an_answer_that_leaves_bars_out_does_not_complete(
    name: str, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        server.misbehave(name, 0.4, tickers=["IBM"])
        run = loader.load("IBM", "MSFT", **WORDS)
        state, _, error = results(loader.connection, run)["IBM", "day"]
        assert state == "failed"
        assert (error or "").startswith("UnlikeAnswersError: two answers disagree: the first one left out ")
        assert results(loader.connection, run)["MSFT", "day"][0] == "completed"
        server.clear()
        server.misbehave(name, 0.4, tickers=["IBM"], calls=1)
        run = loader.load("IBM", **WORDS)
    assert run_status(loader.connection, run) == "COMPLETED"
    assert len([row for row in stored_bars(loader.connection, "day") if row[0] == "IBM"]) == 38


def test_absent_bars_that_arrive_later_are_absent_no_more(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, listings=LISTINGS)):
        loader.load("IPO", **WORDS)
    with massive(monkeypatch, FakeMassive(now=NOW)):
        loader.load("IPO", **WORDS)
    assert loader.connection.execute("SELECT count(*) FROM absent_bars").fetchone() == (0,)
    assert _missing(loader).keys() == {*SYMBOLS} - {"IPO"}
