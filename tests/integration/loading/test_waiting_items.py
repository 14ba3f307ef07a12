"""Items of a sweep that wait for calls ask again when there may be one for them, not all of them every few minutes."""

from typing import Any

import pytest

from consumer import Consumer
from harness import run_status
from loading import NOW, Loader, massive
from streamworkers.engine.redis.streams import Streams
from streamworkers_fakes.massive import FakeMassive

SYMBOLS = tuple(f"W{number:03}" for number in range(200))


def _minutes_to_wait(streams: Streams) -> list[float]:
    now_ms = streams.inspector.read_clock_ms()
    delayed: Any = streams.client.raw.zrange(streams.keys.delayed("load"), 0, -1, withscores=True)
    return sorted((due_ms - now_ms) / 60_000 for _, due_ms in delayed)


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
    waits = _minutes_to_wait(streams)
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
