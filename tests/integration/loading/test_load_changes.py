"""What a load records of its changes: appended and corrected bars, and a split with its factor."""

from datetime import date, datetime, timedelta

import psycopg
import pytest

from loading import NOW, Loader, later, massive
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers_fakes.massive import FakeCorrection, FakeListings, FakeMassive, FakeSplit

FRAMES = ("day", "week")


def _changes(connection: psycopg.Connection, timeframe: str = "day") -> list[tuple[str, str, str, float | None]]:
    found = connection.execute(
        "SELECT kind, first_bar, last_bar, factor FROM series_changes WHERE timeframe = %s ORDER BY n", (timeframe,)
    )
    return [
        (kind, *(str(bar.astimezone(EXCHANGE_ZONE).date()) for bar in (first, last)), factor)
        for kind, first, last, factor in found
    ]


def test_a_load_appends_and_a_late_correction_is_one(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    known = later(hours=12)
    listings = FakeListings(corrections=(FakeCorrection("IBM", date(2025, 11, 20), 1.002, known),))
    with massive(monkeypatch, FakeMassive(now=NOW, listings=listings)) as server:
        loader.load("IBM", first="2025-11-10", last="2025-11-21")
        server.set_now(known + timedelta(hours=1))
        loader.load("IBM", first="2025-11-10", last="2025-11-24")
    assert _changes(loader.connection) == [
        ("append", "2025-11-10", "2025-11-21", None),
        ("correct", "2025-11-20", "2025-11-20", None),
        ("append", "2025-11-24", "2025-11-24", None),
    ]


def test_a_split_rebases_every_timeframe_with_its_factor(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    split = FakeSplit("IBM", date(2025, 11, 26), 1, 4)
    with massive(monkeypatch, FakeMassive(now=NOW, splits=[split])) as server:
        loader.load("IBM", timeframes=FRAMES, first="2025-11-03", last="2025-11-21")
        loader.connection.execute("UPDATE series_sources SET adjusted_on = '2025-11-22'")
        server.set_now(later(days=3))
        loader.load("IBM", timeframes=FRAMES, now=later(days=3))
    assert _changes(loader.connection) == [
        ("append", "2025-11-03", "2025-11-21", None),
        ("rebase", "2025-11-03", "2025-11-21", 0.25),
        ("append", "2025-11-24", "2025-11-28", None),
    ]
    assert [change[0] for change in _changes(loader.connection, "week")] == ["append", "rebase", "append"]


def test_repaired_bars_are_rebased_by_nobody_knows_which_factor(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    loader.load("IBM", provider="synthetic", first="2025-11-03", last="2025-11-21")
    with massive(monkeypatch, FakeMassive(now=NOW)):
        loader.load("IBM", first="2025-11-10", last="2025-11-21")
    kinds = [(kind, factor) for kind, _, _, factor in _changes(loader.connection)]
    assert kinds[:2] == [("append", None), ("rebase", None)]


def test_an_open_week_is_recorded_once_it_has_closed(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive()):
        now = datetime.now(EXCHANGE_ZONE)
        monday = now.date() - timedelta(days=now.weekday())
        loader.load("IBM", timeframes=("month",), now=now, include_open=True, first=str(monday.replace(day=1)))
    stored = loader.connection.execute("SELECT count(*) FROM ohlcv_monthly").fetchone()
    assert stored is not None
    through = loader.connection.execute("SELECT complete_through FROM series_state").fetchone()
    assert through is not None
    last = loader.connection.execute("SELECT max(date) FROM ohlcv_monthly").fetchone()
    assert last is not None
    is_this_month = last[0] == now.date().replace(day=1)
    assert not is_this_month or through[0] is None or through[0].astimezone(EXCHANGE_ZONE).date() < last[0]
