"""A provider that is away: the run waits, one process probes, no attempts are spent, and it ends at a deadline."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from consumer import Consumer
from harness import run_status
from loading import NOW, THIRTY, Loader, massive, results, stored_bars
from patience import Deadline, patient
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.engine.registry import installed_jobs
from streamworkers.loading.outages import CallFailure, ProviderWatch, list_outages
from streamworkers.loading.providers.massive import Massive
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


def _before_judging(patch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen once, between the first failure of a call and the moment in which it is judged."""
    judge = ProviderWatch.find_pause
    left = [happens]

    def find_pause(watch: ProviderWatch, failure: CallFailure) -> datetime | None:
        if left:
            left.pop()()
        return judge(watch, failure)

    patch.setattr(ProviderWatch, "find_pause", find_pause)


def test_a_failure_is_of_the_outage_that_another_worker_has_ended_meanwhile(
    database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW)) as server, connect(database_url) as own:
        second = Loader(
            Consumer(settings, registry := installed_jobs(), loader.streams, own, "two"), own, loader.streams, registry
        )

        def end_the_outage() -> None:
            second.start("OTHER", **WORDS)
            second.consumer.work("load")  # fails too, and opens the outage
            server.clear()
            _let_probe(second)
            _work(second)
            assert own.execute("SELECT probes FROM provider_outages WHERE ended_at IS NOT NULL").fetchall() == [(1,)]

        server.misbehave("server_error", 503.0)
        run = loader.start(*SYMBOLS, **WORDS)
        _before_judging(monkeypatch, end_the_outage)
        _work(loader)
        assert list_outages(loader.connection) == []
        loader.consumer.work_until_empty("load")
        assert run_status(loader.connection, run) == "COMPLETED"
        job: Any = registry["load_ohlcv"]
        job.close()
    assert _attempts(loader.connection) == {1}


@pytest.mark.parametrize("answers_another", [False, True])
def test_a_call_from_before_the_end_of_an_outage_that_fails_after_it_is_of_the_outage(
    answers_another: bool, database_url: str, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    fetch = Massive._get

    def get_late(provider: Massive, path: str, *words: Any) -> Any:
        if "/S00/" in path and slow:
            slow.pop()
            with connect(database_url) as other:
                other.execute(
                    "INSERT INTO provider_outages (provider, since, ended_at, next_probe_at, probes, error)"
                    " VALUES ('massive', now() - interval '1 hour', clock_timestamp(), now(), 9, 'it was away')"
                )
        return fetch(provider, path, *words)

    slow = [True]
    monkeypatch.setattr(Massive, "_get", get_late)
    with massive(monkeypatch, FakeMassive(now=NOW), load_threads=1) as server:
        server.misbehave("server_error", 503.0, tickers=["S00"], calls=1)
        run = loader.start("S00", *(("S01",) if answers_another else ()), **WORDS)
        loader.consumer.work_until_empty("load")
        assert slow == []
        assert run_status(loader.connection, run) == "COMPLETED"
    assert _attempts(loader.connection) == {1}


def test_a_provider_that_answers_a_probe_and_is_away_again_costs_no_attempts(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    note = ProviderWatch.note_answer

    def note_and_fail_again(watch: ProviderWatch) -> None:
        note(watch)
        server.misbehave("server_error", 503.0)

    with massive(monkeypatch, FakeMassive(now=NOW)) as server:
        server.misbehave("server_error", 503.0)
        run = loader.start(*SYMBOLS, **WORDS)
        _work(loader)
        with monkeypatch.context() as patch:
            patch.setattr(ProviderWatch, "note_answer", note_and_fail_again)
            for _ in range(7):  # more than the attempts that an item has
                server.clear()
                _let_probe(loader)
                _work(loader)
                assert len(list_outages(loader.connection)) == 1
        server.clear()
        _let_probe(loader)
        loader.consumer.work_until_empty("load")
        assert run_status(loader.connection, run) == "COMPLETED"
    assert _attempts(loader.connection) == {1}
