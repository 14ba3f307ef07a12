"""Each call to a provider is counted with what it is for."""

from collections import Counter
from datetime import date
from typing import Any

import pytest

from loading import NOW, THIRTY, Loader, later, massive
from streamworkers.loading.outages import ProviderWatch
from streamworkers_fakes.massive import FakeListings, FakeMassive, FakeSplit

DAYS: dict[str, Any] = {"first": "2025-11-03", "last": "2025-11-24"}


def _counted(loader: Loader) -> dict[str, int]:
    """The calls since this was asked last, by purpose."""
    found: Counter[str] = Counter()
    for report in loader.consumer.reporter.reports:
        for (name, *labels), count in report.tallies:
            if name == "provider_calls":
                found[labels[-1]] += count
    loader.consumer.reporter.reports.clear()
    return dict(found)


def test_each_call_is_counted_with_its_purpose(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    fake = FakeMassive(
        now=NOW,
        symbols=(*THIRTY[:20], "NEW", "IBM"),
        listings=FakeListings(listed_from={"NEW": date(2025, 11, 17)}),
        splits=[FakeSplit("IBM", date(2025, 11, 26), 1, 4)],
    )
    with massive(monkeypatch, fake) as server:
        loader.load("S00", "NEW", "IBM", **DAYS)
        assert _counted(loader) == {"load": 3, "listing": len(server.calls) - 3}
        loader.connection.execute("DELETE FROM ohlcv_daily WHERE symbol = 'S00' AND date = '2025-11-12'")
        loader.load("S00", **DAYS, only_gaps=True)
        assert _counted(loader) == {"fill_gaps": 1}
        loader.load(*THIRTY[:20], first="2025-11-24", last="2025-11-25")
        assert _counted(loader) == {"day_of_all": 2}
        server.set_now(later(days=1))
        loader.load("S00", now=later(days=1), check_nights=1)
        assert _counted(loader) == {"check": 1}
        loader.connection.execute("UPDATE series_sources SET adjusted_on = '2025-11-25' WHERE symbol = 'IBM'")
        loader.load("IBM", now=later(days=1))
        assert _counted(loader) == {"splits": 1, "reload": 1}
        server.misbehave("missing_bars", 0.5, calls=1)
        loader.load("S19", **DAYS)
        assert _counted(loader)["confirm"] >= 1


def test_a_probe_is_counted_as_one(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    monkeypatch.setattr(ProviderWatch, "note_answer", lambda watch: None)
    with massive(monkeypatch) as server:
        server.misbehave("server_error", 503.0, calls=1)
        loader.start("S00", **DAYS)
        loader.consumer.work("load")
        loader.connection.execute("UPDATE provider_outages SET next_probe_at = now()")
        loader.streams.client.raw.delete(loader.streams.keys.delayed("load"))
        loader.start("S01", **DAYS)
        loader.consumer.work("load")
    assert _counted(loader) == {"load": 2, "probe": 1}
