"""Several workers load many symbols in all timeframes, and fetch no series twice."""

import os
from collections import Counter
from pathlib import Path

import pytest

from harness import running_supervisor, start_run, wait_for_end
from loading import NOW, THIRTY, loader_environment
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import installed_jobs
from streamworkers_fakes.massive import FakeMassive, running_fake_massive

FRAMES = ("1min", "hour", "day", "week", "month")
LOADING_JOBS = Path(__file__).parent.parent.parent / "loading_jobs"
RANGE = {"first": "2025-11-20", "last": "2025-11-21"}


def test_no_series_is_fetched_twice_however_the_reads_of_workers_cut_the_queue(
    connection: Connection,
    streams: Streams,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environment["PYTHONPATH"] += f"{os.pathsep}{LOADING_JOBS}"
    monkeypatch.syspath_prepend(str(LOADING_JOBS))
    registry, fetched = installed_jobs(), {}
    with running_fake_massive(FakeMassive(now=NOW, latency=0.05)) as server:
        environment |= loader_environment(server)
        with running_supervisor(environment, tmp_path, "--processes", "4", "--queue", "load", "--queue", "apart"):
            for job, symbols in (("load_ohlcv", THIRTY[:8]), ("loading_apart", THIRTY[8:16])):
                server.forget_calls()
                run = start_run(
                    connection, streams, registry, job, *symbols, timeframes=FRAMES, as_of=NOW, parameters=RANGE
                )
                assert wait_for_end(connection, run) == "COMPLETED"
                fetched[job] = Counter(call.path for call in server.calls if "/range/" in call.path)
    assert sorted(fetched["load_ohlcv"].values()) == [1] * 16  # minutes and days of eight symbols
    # The negative control: the first read, of eight items, ends within a symbol.
    assert fetched["loading_apart"].total() > 16
