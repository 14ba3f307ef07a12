"""Items of a sweep that wait for calls ask again when there may be one for them, not all of them every few minutes."""

from typing import Any

import pytest

from consumer import Consumer
from harness import run_status
from loading import NOW, Loader, massive
from patience import patient
from streamworkers.database import connect
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.streams import Streams
from streamworkers.loading import rate_limit, shared_answers
from streamworkers_fakes.massive import FakeMassive

SYMBOLS = tuple(f"W{number:03}" for number in range(200))


def _minutes_to_wait(streams: Streams, run: Run) -> list[float]:
    now_ms = streams.inspector.read_clock_ms()
    delayed: Any = streams.client.raw.zrange(streams.keys.delayed("load"), 0, -1, withscores=True)
    own = (due_ms for entry, due_ms in delayed if unpack_entry(entry, 16_384).run_id == run.id)
    return sorted((due_ms - now_ms) / 60_000 for due_ms in own)


@pytest.mark.parametrize("timeframes", [("day",), ("day", "week")])
def test_as_many_of_a_sweep_ask_in_a_minute_as_there_are_calls(
    timeframes: tuple[str, ...],
    consumer: Consumer,
    loader: Loader,
    streams: Streams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with massive(
        monkeypatch, FakeMassive(now=NOW), massive_calls_per_minute=5, load_grouped_from=1000, load_confirm=False
    ) as server:
        run = loader.start(*SYMBOLS, timeframes=timeframes, first="2025-11-24", last="2025-11-25")
        while consumer.work("load", 20 * len(timeframes)):
            pass
        assert len(server.calls) == 5
    waits = _minutes_to_wait(streams, run)
    assert len(waits) == 195 * len(timeframes)
    assert run_status(loader.connection, run) == "RUNNING"
    # 195 symbols need 39 minutes; some more ask than get a call, so that no call is lost, and none waits longer.
    assert 25 < waits[-1] < 33
    # In the first five minutes a sixth of them, and those for whom calls are held; if each batch let its own items ask
    # in the next minutes, it would be all of them.
    early = sum(wait <= 5 for wait in waits) / len(timeframes)
    assert 10 <= early <= 70
    # Items that share a request ask together.
    assert len({round(wait, 4) for wait in waits}) <= 196


def test_sweeps_side_by_side_plan_for_half_of_the_calls_as_long_as_both_have_items(
    consumer: Consumer, loader: Loader, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: dict[str, Any] = {"first": "2025-11-24", "last": "2025-11-25"}
    monkeypatch.setenv("STREAMWORKERS_LOAD_REQUEST_ITEMS", "0")
    with massive(
        monkeypatch, FakeMassive(now=NOW), massive_calls_per_minute=5, load_grouped_from=1000, load_confirm=False
    ):
        loader.start(*SYMBOLS[:50], **words)
        consumer.work("load", 20)  # gets the calls of this minute, and claims the next ones
        large = loader.start(*SYMBOLS[100:], **words)
        while consumer.work("load", 20):
            pass
    waits = _minutes_to_wait(streams, large)
    assert len(waits) > 50
    # 100 of its own and 45 of the other take 23 minutes, if some more ask than get a call; alone it would be 16.
    assert 17 < waits[-1] < 25


def test_a_sweep_asks_for_a_call_that_all_its_items_share_once(
    consumer: Consumer, loader: Loader, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_limit, "CALL_WINDOW_MS", 600_000)
    with massive(monkeypatch, FakeMassive(now=NOW, symbols=SYMBOLS), massive_calls_per_minute=2) as server:
        run = loader.start(*SYMBOLS[:60], first="2025-11-21", last="2025-11-25")
        while consumer.work("load", 20):
            pass
        assert len(server.calls) == 2  # two of its three days
        assert streams.client.raw.zcard(streams.keys.rate_claims("massive")) == 1
        waits = _minutes_to_wait(streams, run)
        assert len(waits) == 60
        assert 0 < waits[0] <= waits[-1] <= 10.1
        # The time has passed.
        streams.client.raw.delete(streams.keys.rate_limit("massive"), streams.keys.rate_claims("massive"))
        loader.connection.execute(
            "UPDATE load_checkpoints SET packed = convert_to(%s, 'UTF8') WHERE key = 'note:next_call'",
            ('"2025-11-25T00:00:00Z"',),
        )
        consumer.work_until_empty("load")
        assert len(server.calls) == 3
    assert run_status(loader.connection, run) == "COMPLETED"


def test_a_worker_waits_a_while_for_an_answer_that_another_one_fetches(
    database_url: str, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: dict[str, Any] = {"first": "2025-11-24", "last": "2025-11-25"}
    with massive(monkeypatch, FakeMassive(now=NOW, symbols=SYMBOLS)) as server, connect(database_url) as other:
        run = loader.start(*SYMBOLS[:20], **words)
        lock = (0x5359, f"{run.id}:day:2025-11-24")
        other.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", lock)
        with monkeypatch.context() as patch:
            patch.setattr(shared_answers, "_WAIT_SECONDS", 0.0)
            loader.consumer.work("load")
        assert server.calls == []
        waits = _minutes_to_wait(loader.streams, run)
        assert len(waits) == 20
        assert max(waits) <= 15 / 60

        def end_the_other(seconds: float) -> None:
            del seconds
            other.execute("SELECT pg_advisory_unlock_all()")

        monkeypatch.setattr(shared_answers, "_WAIT_SECONDS", patient(60))
        monkeypatch.setattr(shared_answers, "sleep", end_the_other)
        loader.consumer.work_until_empty("load")
        assert len(server.calls) == 2
    assert run_status(loader.connection, run) == "COMPLETED"
    assert loader.consumer.reporter.total("snoozed") == 20
