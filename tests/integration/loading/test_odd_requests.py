"""Requests that are rare, each compared with a plain load of the same bars at the end."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from harness import run_status
from loading import NEW_YORK, NOW, THIRTY, Loader, counts, later, massive, results, stored_bars
from streamworkers.loading.load_rules import LoadRules, Span
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers_fakes.massive import FakeListings, FakeMassive, FakeSplit

ALL = tuple(TIMEFRAMES)
TABLES = ", ".join(frame.table for frame in TIMEFRAMES.values())


def _stored(loader: Loader, frames: Sequence[str] = ALL) -> dict[str, list[tuple[Any, ...]]]:
    return {name: stored_bars(loader.connection, name) for name in frames}


def _empty(loader: Loader) -> None:
    loader.connection.execute(f"TRUNCATE {TABLES}, series_sources, absent_bars, listings")


def test_open_bars_of_every_timeframe_are_replaced_once_they_have_closed(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    wide = ALL[1:]  # the fake has minutes once they have ended
    noon, end = NOW.replace(hour=12, minute=17), datetime(2025, 12, 1, 20, 0, tzinfo=NEW_YORK)
    with massive(monkeypatch, FakeMassive(now=noon)) as server:
        run = loader.load("IBM", timeframes=ALL, now=noon, first="2025-11-24", last="2025-11-25", include_open=True)
        found = results(loader.connection, run)
        assert {name for (_, name), (_, result, _) in found.items() if (result or {}).get("open")} == set(wide)
        opened = {name: bars[-1] for name, bars in _stored(loader, wide).items()}
        # The sources say when the bars were fetched; then it was noon.
        loader.connection.execute("UPDATE series_sources SET fetched_at = %s, newest_fetched_at = %s", (noon, noon))
        server.set_now(end)
        loader.load("IBM", timeframes=ALL, now=end)
        replaced = _stored(loader)
        for name, bar in opened.items():
            (now,) = [row for row in replaced[name] if row[:2] == bar[:2]]
            assert now[6] > bar[6], name
        _empty(loader)
        for name in ALL:
            loader.load("IBM", timeframes=(name,), now=end, first="2025-11-24", last="2025-12-01")
    plain = _stored(loader)
    # Of the month that was stored open, which has closed since; the plain load asks for no other month.
    assert replaced == plain


def test_a_split_makes_one_run_load_every_timeframe_again(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    split, end = FakeSplit("IBM", date(2025, 11, 26), 1, 4), later(days=3)
    words: dict[str, Any] = {"first": "2025-10-27", "last": "2025-11-21"}
    with massive(monkeypatch, FakeMassive(now=NOW, splits=[split])) as server:
        loader.load("IBM", "MSFT", timeframes=ALL, **words)
        others = [row for rows in _stored(loader).values() for row in rows if row[0] == "MSFT"]
        loader.connection.execute("UPDATE series_sources SET adjusted_on = '2025-11-22'")
        server.set_now(end)
        run = loader.load("IBM", "MSFT", timeframes=ALL, now=end)
        assert run_status(loader.connection, run) == "COMPLETED"
        found = results(loader.connection, run)
        for name in ALL:
            assert (found["IBM", name][1] or {})["replaced"] == "split 1 to 4 on 2025-11-26"
        again = _stored(loader)
        assert {row[:2] for row in others} <= {row[:2] for rows in again.values() for row in rows}
        _empty(loader)
        loader.load("IBM", timeframes=ALL, now=end, first="2025-10-27", last="2025-11-28")
    plain = _stored(loader)
    assert {name: [row for row in rows if row[0] == "IBM"] for name, rows in again.items()} == plain


def test_extended_hours_have_bars_before_and_after_the_session(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW.replace(hour=23))):
        run = loader.load("IBM", timeframes=("1min", "hour"), now=NOW.replace(hour=23),
                          first="2025-11-24", last="2025-11-25", hours="extended")  # fmt: skip
    assert run_status(loader.connection, run) == "COMPLETED"
    hours = [row[1].astimezone(NEW_YORK) for row in stored_bars(loader.connection, "hour")]
    assert {at.hour for at in hours} == set(range(4, 20))
    minutes = stored_bars(loader.connection, "1min")
    assert len(minutes) > 2 * 390
    assert sum(row[6] for row in minutes) == pytest.approx(
        sum(row[6] for row in stored_bars(loader.connection, "hour"))
    )


def test_twenty_years_of_days_weeks_and_months_are_all_there(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    frames = ("day", "week", "month")
    with massive(monkeypatch, FakeMassive(now=NOW), massive_page_limit=1000) as server:
        run = loader.load("IBM", timeframes=frames, years=20)
        pages = [call for call in server.calls if "/v2/aggs/" in call.path]
    assert run_status(loader.connection, run) == "COMPLETED"
    assert len(pages) >= 5
    stored = stored_bars(loader.connection, "day")
    span = Span(stored[0][1], date(2025, 11, 25))
    assert (stored[-1][1] - stored[0][1]).days > 20 * 365
    assert len(stored) == len(LoadRules(now=NOW).expected(TIMEFRAMES["day"], span))
    assert {name: bars["IBM"] >= least for (name, bars), least in zip(
        counts(loader.connection).items(), (5000, 1040, 239), strict=True)} == dict.fromkeys(frames, True)  # fmt: skip


@pytest.mark.parametrize("grouped_from", [1, 100])
def test_a_bar_that_is_open_by_the_clock_of_the_provider_is_not_stored_as_closed(
    grouped_from: int, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    symbols, there = THIRTY[:3], NOW.replace(hour=14)  # ours is four hours ahead, or this machine's zone is wrong
    with massive(monkeypatch, FakeMassive(now=there, symbols=symbols), load_grouped_from=grouped_from) as server:
        run = loader.load(*symbols, first="2025-11-24", last="2025-11-25")
        assert [row[1] for row in stored_bars(loader.connection, "day")] == [date(2025, 11, 24)] * 3
        assert run_status(loader.connection, run) == "COMPLETED"
        server.set_now(NOW + timedelta(days=1))
        loader.load(*symbols, now=NOW + timedelta(days=1))
        after = stored_bars(loader.connection, "day")
        _empty(loader)
        loader.load(*symbols, now=NOW + timedelta(days=1), first="2025-11-24", last="2025-11-26")
    assert after == stored_bars(loader.connection, "day")


def test_a_batch_with_other_days_gives_no_symbol_bars_that_it_has_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    symbols = THIRTY[:4]
    listings = FakeListings(listed_from={symbols[1]: date(2025, 11, 20)})
    with massive(monkeypatch, FakeMassive(now=NOW, symbols=symbols, listings=listings), load_grouped_from=1) as server:
        loader.load(*symbols[1:], first="2025-11-20", last="2025-11-24")
        loader.load(symbols[0], first="2025-11-14", last="2025-11-19")
        server.forget_calls()
        run = loader.load(*symbols)
        # One symbol needs days that the others have, or that are before their listing.
        assert [call.path for call in server.calls if "/range/" in call.path] == []
    found = results(loader.connection, run)
    assert {(symbol, (result or {}).get("rejected")) for (symbol, _), (_, result, _) in found.items()} == {
        (symbol, None) for symbol in symbols
    }
