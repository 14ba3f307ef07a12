"""Services of the queue `tests`, and the clock of the reconciler."""

from collections.abc import Callable

import pytest
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services import loss_check as loss_check_module
from streamworkers.engine.services import reconciler as reconciler_module
from streamworkers.engine.services.loss_check import StallRule
from streamworkers.engine.services.reconciler import Reconciler


@pytest.fixture
def metrics() -> PoolMetrics:
    return PoolMetrics()


@pytest.fixture
def reconciler(pool: "ConnectionPool[Connection]", streams: Streams, metrics: PoolMetrics) -> Reconciler:
    return Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics)


@pytest.fixture
def hasty(pool: "ConnectionPool[Connection]", streams: Streams, metrics: PoolMetrics) -> Reconciler:
    """A reconciler to which a run is stalled as soon as its open items have not become fewer between two looks."""
    return Reconciler(pool, streams, ["tests"], 1.0, 0.0, metrics, StallRule(stall_seconds=0.0))


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Turns the reconciler's clock on by so many seconds; it stands still otherwise."""
    times = [1000.0]
    for module in (reconciler_module, loss_check_module):
        monkeypatch.setattr(module, "monotonic", lambda: times[0])

    def turn_on(seconds: float) -> None:
        times[0] += seconds

    return turn_on
