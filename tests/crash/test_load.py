"""Workers and Redis die in the middle of a load: the tables end exactly as those of an undisturbed one."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import running_supervisor, start_run, wait_for_end, wait_until
from loading import NOW, THIRTY, loader_environment, stored_bars
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers_fakes.massive import FakeMassive, RunningFakeMassive, running_fake_massive

FRAMES = ("1min", "hour", "day", "week", "month")
SYMBOLS = THIRTY[:16]
LOAD = ("--queue", "load")


@pytest.fixture
def server() -> Iterator[RunningFakeMassive]:
    """A Massive that takes its time, so that there is a middle of a load."""
    with running_fake_massive(FakeMassive(now=NOW, latency=0.15)) as running:
        yield running


def _start(connection: Connection, streams: Streams, registry: Registry, symbols: tuple[str, ...] = SYMBOLS) -> Run:
    words: dict[str, Any] = {"first": "2025-10-27", "last": "2025-10-31"}
    return start_run(
        connection, streams, registry, "load_ohlcv", *symbols, timeframes=FRAMES, as_of=NOW, parameters=words
    )


def _undisturbed(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], folder: Path
) -> dict[str, list[tuple[Any, ...]]]:
    with running_supervisor(environment, folder, "--processes", "2", *LOAD):
        assert wait_for_end(connection, _start(connection, streams, registry)) == "COMPLETED"
    found = {name: stored_bars(connection, name) for name in FRAMES}
    connection.execute("TRUNCATE ohlcv_1min, ohlcv_hourly, ohlcv_daily, ohlcv_weekly, ohlcv_monthly, series_sources")
    return found


def test_killed_workers_and_an_emptied_redis_leave_the_bars_of_an_undisturbed_load(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    server: RunningFakeMassive,
    tmp_path: Path,
) -> None:
    environment |= loader_environment(server, load_threads=2)
    expected = _undisturbed(connection, streams, registry, environment, tmp_path)
    server.forget_calls()
    run = _start(connection, streams, registry)
    with running_supervisor(environment, tmp_path, "--processes", "2", *LOAD) as supervisor:
        for calls in (3, 9, 15):
            wait_until(lambda calls=calls: len(server.calls) >= calls, 30, f"{calls} calls")  # type: ignore[misc]
            os.kill(supervisor.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: len(server.calls) >= 18, 30, "18 calls")
        for key in streams.client.raw.scan_iter(f"{streams.keys.prefix}:*"):
            streams.client.raw.delete(key)
        assert wait_for_end(connection, run, 60) == "COMPLETED"
    assert {name: stored_bars(connection, name) for name in FRAMES} == expected
    assert all(expected.values())


def test_four_workers_together_make_no_more_calls_than_allowed_and_none_waits(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    server: RunningFakeMassive,
    tmp_path: Path,
) -> None:
    environment |= loader_environment(server, massive_calls_per_minute=5)
    run = _start(connection, streams, registry)
    with running_supervisor(environment, tmp_path, "--processes", "4", *LOAD) as supervisor:

        def all_put_off() -> bool:
            backlog = streams.inspector.read_backlog("load")
            return backlog.waiting == backlog.pending == 0 and backlog.delayed > 0

        wait_until(all_put_off, 30, "what cannot be asked for is put off")
        # The workers have nothing in hand: another load, of a provider without a limit, is done at once.
        other = start_run(
            connection,
            streams,
            registry,
            "load_ohlcv",
            "ABC",
            as_of=NOW,
            parameters={"provider": "synthetic", "years": 1},
        )
        assert wait_for_end(connection, other, 10) == "COMPLETED"
        moments = sorted(call.monotonic for call in server.calls)
        assert len(moments) >= 5
        assert all(later - earlier >= 60 for earlier, later in zip(moments, moments[5:], strict=False))
        supervisor.process.send_signal(signal.SIGTERM)
        assert supervisor.process.wait(patient(20)) == 0
    assert run.item_count == len(SYMBOLS) * len(FRAMES)
