"""A load and its coverage follow the calendar of each symbol: crypto has weekends, London its own holidays."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from harness import run_status
from loading import NOW, Loader, massive, results
from streamworkers.loading.coverage import Coverage, compute_coverage, find_gaps
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules, set_calendar
from streamworkers.market.calendar.timeframes import TIMEFRAMES

DAY = TIMEFRAMES["day"]
FIRST, LAST = date(2025, 8, 21), date(2025, 9, 3)  # the UK's holiday is on 25 August, that of the US on 1 September
SYMBOLS = ("AAA", "BTC-USD", "VOD.L")
WORDS: dict[str, Any] = {"first": str(FIRST), "last": str(LAST), "provider": "csv"}


@pytest.fixture
def files(tmp_path: Path, loader: Loader, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of every day of the range for each symbol, and a calendar for each."""
    monkeypatch.setenv("STREAMWORKERS_CSV_PATH", str(tmp_path))
    set_calendar(loader.connection, ["*-USD"], "24/7")
    set_calendar(loader.connection, ["*.L"], "XLON")
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    (tmp_path / "day").mkdir()
    for symbol in SYMBOLS:
        lines = [f"{day},10,11,9,10,100\n" for day in days]
        (tmp_path / "day" / f"{symbol}.csv").write_text("Date,Open,High,Low,Close,Volume\n" + "".join(lines))
    return tmp_path


def _coverage(loader: Loader, rules: LoadRules) -> dict[str, Coverage]:
    calendars = read_calendar_rules(loader.connection, "XNYS")
    return {row.symbol: row for row in compute_coverage(loader.connection, SYMBOLS, DAY, SPAN, rules, calendars)}


SPAN, RULES = Span(FIRST, LAST), LoadRules(now=NOW)


@pytest.mark.usefixtures("files")
def test_each_symbol_has_the_days_of_its_own_calendar(loader: Loader) -> None:
    run = loader.load(*SYMBOLS, **WORDS)
    assert run_status(loader.connection, run) == "COMPLETED"
    found = {symbol: result or {} for (symbol, _), (_, result, _) in results(loader.connection, run).items()}
    assert {symbol: result["bars"] for symbol, result in found.items()} == {"AAA": 9, "BTC-USD": 14, "VOD.L": 9}
    stored = loader.connection.execute(
        "SELECT symbol, date FROM ohlcv_daily WHERE date IN ('2025-08-25', '2025-09-01')"
    )
    assert sorted((symbol, day.day) for symbol, day in stored) == [
        *(("AAA", 25), ("BTC-USD", 1), ("BTC-USD", 25), ("VOD.L", 1))
    ]
    assert [(row.expected, row.missing) for row in _coverage(loader, RULES).values()] == [(9, 0), (14, 0), (9, 0)]


@pytest.mark.usefixtures("files")
def test_a_lost_weekend_is_a_gap_of_the_symbol_that_has_one_and_is_filled(loader: Loader) -> None:
    loader.load(*SYMBOLS, **WORDS)
    loader.connection.execute("DELETE FROM ohlcv_daily WHERE date IN ('2025-08-30', '2025-08-31')")
    assert {row.symbol: row.missing for row in _coverage(loader, RULES).values() if row.missing} == {"BTC-USD": 2}
    rules = LoadRules(now=NOW, calendar="24/7")
    (gap,) = find_gaps(loader.connection, "BTC-USD", DAY, SPAN, rules)
    assert (gap.first, gap.last) == (date(2025, 8, 30), date(2025, 8, 31))
    run = loader.load(*SYMBOLS, **WORDS, only_gaps=True)
    found = {symbol: (result or {})["bars"] for (symbol, _), (_, result, _) in results(loader.connection, run).items()}
    assert found == {"AAA": 0, "BTC-USD": 2, "VOD.L": 0}
    assert all(row.missing == 0 for row in _coverage(loader, RULES).values())


def test_the_day_of_all_symbols_serves_stocks_of_new_york_only(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    set_calendar(loader.connection, ["BTCUSD"], "24/7")
    with massive(monkeypatch, load_grouped_from=1) as server:
        loader.load("AAA", "BTCUSD", first="2025-11-17", last="2025-11-19")
        asked = [call.path for call in server.calls]
        assert len([path for path in asked if "/grouped/" in path]) == 3
        assert len([path for path in asked if "BTCUSD" in path and "/range/" in path]) == 1
