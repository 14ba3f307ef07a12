"""What tests of lost entries share: losing them, letting a service work, and looking what waits."""

from collections.abc import Sequence

import pytest

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import unpack_entry
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services.reconciler import Reconciler


def lose(streams: Streams, symbol: str) -> None:
    """Take one entry out of the stream, pending or not, as a lost second of the append-only file would."""
    (entry_id,) = [e.entry_id for e in streams.inspector.scan_stream("tests", "0-0") if symbol.encode() in e.packed]
    streams.client.raw.xack(streams.keys.stream("tests"), "workers", entry_id)
    streams.client.raw.xdel(streams.keys.stream("tests"), entry_id)


def step_until_idle(reconciler: Reconciler, most: int = 20) -> int:
    """Do steps until there is nothing more to do now; returns how many."""
    for count in range(1, most + 1):
        if reconciler.run_once() is None:
            return count
    pytest.fail(f"not done in {most} steps")


def symbols_waiting(streams: Streams) -> list[str]:
    return [unpack_entry(e.packed, 16_384).symbol for e in streams.inspector.scan_stream("tests", "0-0")]


def metric_value(metrics: PoolMetrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"streamworkers_{name}", labels) or 0.0


def record_counted_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs whose open items are counted in the ledger from now on, in order."""
    counted: list[int] = []
    count = ledger.close_runs

    def counting(connection: Connection, runs: Sequence[Run]) -> tuple[dict[int, str], dict[int, int]]:
        counted.extend(run.id for run in runs)
        return count(connection, runs)

    monkeypatch.setattr(ledger, "close_runs", counting)
    return counted
