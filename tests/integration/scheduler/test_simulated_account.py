"""Over a simulated time, ticks by the times that schedules had are rows, whatever happens meanwhile."""

from collections.abc import Iterator

import pytest
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.sessions import keep_sessions
from tick_mends import MENDS
from tick_simulation import Shares, Simulation

SEED = 3  # with it, each of the mends is needed


@pytest.fixture
def simulation(
    pool: "ConnectionPool[Connection]", connection: Connection, streams: Streams, registry: Registry
) -> Iterator[Simulation]:
    made = Simulation(pool, connection, streams, registry, SEED)
    made.shares = Shares(outages=0.25, early_closes=0.8, edits=1.0, kills=0.05)
    yield made
    keep_sessions("XNYS", None, None, ())


@pytest.mark.parametrize("without", [None, *MENDS])
def test_the_account_closes_and_does_not_without_any_of_what_closes_it(
    without: str | None, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    if without is not None:
        MENDS[without](monkeypatch)
    outcome = simulation.run(schedules=9, days=12)
    assert outcome.closes == (without is None), outcome
