"""A request of a few symbols does not wait behind a sweep of all of them."""

from pathlib import Path

import pytest

from harness import running_supervisor, start_run, wait_for_end
from loading import THIRTY
from streamworkers.database import Connection
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.loading.parameters import LoadParameters

RANGE = {"provider": "synthetic", "first": "2025-11-24", "last": "2025-11-25"}


def test_a_request_goes_before_the_items_of_a_sweep_that_were_there_first(
    connection: Connection,
    streams: Streams,
    registry: Registry,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(*symbols: str) -> Run:
        return start_run(connection, streams, registry, "load_ohlcv", *symbols, parameters=RANGE)

    sweep = start(*THIRTY)
    # The negative control: without a turn of its own a request waits for all of the sweep.
    behind = start("BEHIND")
    monkeypatch.setenv("STREAMWORKERS_LOAD_REQUEST_ITEMS", "2")
    request = start("ASKED")
    costs = [LoadParameters.model_validate(run.parameters).calls_cost for run in (sweep, behind, request)]
    assert costs == [10, 10, 1]
    assert [run.queue for run in (sweep, behind, request)] == ["load", "load", "load_first"]
    with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "load"):
        assert {wait_for_end(connection, run) for run in (sweep, behind, request)} == {"COMPLETED"}
    first, last = (
        connection.execute("SELECT finished_at FROM run_items WHERE run_id = %s", (run.id,)).fetchone()
        for run in (request, behind)
    )
    assert first is not None
    assert last is not None
    ended = [at for (at,) in connection.execute("SELECT finished_at FROM run_items WHERE run_id = %s", (sweep.id,))]
    assert first[0] <= min(ended)
    assert sum(at <= last[0] for at in ended) > len(THIRTY) / 2
