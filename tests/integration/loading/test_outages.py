"""A provider that is away: the run waits, one process probes, no attempts are spent, and it ends at a deadline."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from harness import run_status
from loading import NOW, THIRTY, Loader, massive, results, stored_bars
from patience import Deadline, patient
from streamworkers.database import connect
from streamworkers.loading.outages import list_outages
from streamworkers_fakes.massive import FakeMassive

WORDS: dict[str, Any] = {"first": "2025-11-17", "last": "2025-11-21"}
SYMBOLS = THIRTY[:12]


def _attempts(connection: psycopg.Connection) -> set[int]:
    return {attempt for (attempt,) in connection.execute("SELECT attempt FROM run_items")}


def _let_probe(loader: Loader) -> None:
    loader.connection.execute("UPDATE provider_outages SET next_probe_at = now() - interval '1 s'")


def _work(loader: Loader) -> None:
    delayed = loader.streams.keys.delayed("load")
    entries: Any = loader.streams.client.raw.zrange(delayed, 0, -1)
    for entry in entries:
        loader.streams.client.raw.zadd(delayed, {entry: 0})
    loader.streams.queues.promote("load", 1000)
    loader.consumer.work("load")


@pytest.mark.parametrize(
    ("name", "value"), [("server_error", 500.0), ("server_error", 503.0), ("cut_connection", None), ("not_json", None)]
)
def test_an_outage_spends_no_attempts_and_is_probed_by_one_call_at_a_time(
    name: str, value: float | None, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        loader.load(*SYMBOLS, **WORDS)
        healthy = stored_bars(loader.connection, "day")
        loader.connection.execute("TRUNCATE ohlcv_daily, series_sources")
        server.misbehave(name, value)
        run = loader.start(*SYMBOLS, **WORDS)
        _work(loader)
        (outage,) = list_outages(loader.connection)
        assert (outage.provider, outage.probes) == ("massive", 0)
        server.forget_calls()
        for probe in range(1, 8):  # more than the attempts that an item has
            _let_probe(loader)
            _work(loader)
            _work(loader)  # until the next probe nobody calls
            assert len(server.calls) == probe
        assert list_outages(loader.connection)[0].probes == 7
        assert {state for state, _, _ in results(loader.connection, run).values()} == {"pending"}
        server.clear()
        _let_probe(loader)
        loader.consumer.work_until_empty("load")
        assert run_status(loader.connection, run) == "COMPLETED"
    assert _attempts(loader.connection) == {1}
    assert stored_bars(loader.connection, "day") == healthy
    assert list_outages(loader.connection) == []


def test_nothing_that_listens_is_an_outage_too(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, massive_base_url="http://127.0.0.1:9"):
        run = loader.start(*SYMBOLS, **WORDS)
        _work(loader)
    assert {state for state, _, _ in results(loader.connection, run).values()} == {"pending"}
    assert len(list_outages(loader.connection)) == 1


def test_a_run_that_has_waited_long_enough_fails_with_one_reason(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW), load_away_seconds=0) as server:
        server.misbehave("server_error", 503.0)
        run = loader.start(*SYMBOLS, **WORDS)
        _work(loader)
        _work(loader)  # the run notes that it waits
        loader.consumer.work_until_empty("load")
        found = results(loader.connection, run)
        assert Counter(state for state, _, _ in found.values()) == {"failed": 1, "cancelled": len(SYMBOLS) - 1}
        (error,) = {error for _, _, error in found.values()}
        assert (error or "").startswith("AwayError: massive is away since ")
        assert (error or "").endswith("the run has waited for it for 0 s")
        assert _attempts(loader.connection) == {0, 1}
        server.clear()  # the next run probes as if nothing had been
        _let_probe(loader)
        monkeypatch.setenv("STREAMWORKERS_LOAD_AWAY_SECONDS", "3600")
        assert run_status(loader.connection, loader.load(*SYMBOLS, **WORDS)) == "COMPLETED"


def test_a_symbol_that_always_fails_uses_up_its_attempts_while_others_are_answered(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        server.misbehave("server_error", 500.0, tickers=["S00"])
        run = loader.load(*SYMBOLS, **WORDS)
    found = results(loader.connection, run)
    assert [symbol for (symbol, _), (state, _, _) in found.items() if state == "failed"] == ["S00"]
    assert loader.connection.execute("SELECT attempt FROM run_items WHERE symbol = 'S00'").fetchall() == [(5,)]


def test_a_symbol_alone_that_always_fails_uses_up_its_attempts_too(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        server.misbehave("server_error", 500.0, tickers=["S00"])
        run = loader.start("S00", **WORDS)
        deadline = Deadline(60)
        while run_status(loader.connection, run) in ("PENDING", "RUNNING"):
            assert not deadline.has_passed()
            _let_probe(loader)
            _work(loader)
        assert any("/SPY/" in call.path for call in server.calls)
    state, _, error = results(loader.connection, run)["S00", "day"]
    assert (state, error) == ("failed", "TransientError: massive answered HTTP 500: 'the server failed'")


def test_of_two_workers_one_probes(database_url: str, monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server, connect(database_url) as other:
        server.misbehave("server_error", 503.0)
        loader.start(*SYMBOLS, **WORDS)
        _work(loader)
        _let_probe(loader)
        claim = (
            "UPDATE provider_outages SET next_probe_at = clock_timestamp() + interval '300 s', probes = probes + 1"
            " WHERE next_probe_at <= clock_timestamp() RETURNING probes"
        )
        assert other.execute(claim).fetchall() == [(1,)]
        server.forget_calls()
        _work(loader)
        assert server.calls == []
        delayed: Any = loader.streams.client.raw.zrange(loader.streams.keys.delayed("load"), 0, -1, withscores=True)
        due = max(score for _, score in delayed) / 1000
        # Others do not wait for as long as a prober that was killed holds its right.
        assert due < (datetime.now(UTC) + timedelta(seconds=patient(60))).timestamp()
