"""`/livez` speaks up for every loop of a supervisor that stands still, also for those that rest long."""

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from psycopg.conninfo import make_conninfo

from faults.faulty_pool import DATABASE
from harness import wait_until
from patience import paced
from streamworkers.config import Settings
from streamworkers.database import connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.host import host as host_module
from streamworkers.engine.registry import Registry
from streamworkers.engine.supervisor.child import Limits
from streamworkers.engine.supervisor.options import SupervisorOptions
from streamworkers.engine.supervisor.supervisor import Supervisor
from streamworkers.market.targets import MarketTargets

pytestmark = pytest.mark.timeout(300)
QUICK = {
    *("supervisor", "heartbeat", "lease-keeper", "promoter", "reclaimer", "reconciler", "outbox"),
    *("preparer", "listener", "orders", "progress"),
}
RARE = {"session-guard"}
SLOW = {"pruner", "job-types"}


@pytest.fixture
def database_url(faulty_services: EmbeddedServices) -> str:
    faulty_services.start()
    return make_conninfo(faulty_services.postgres.url, dbname=DATABASE)


@pytest.fixture
def supervisor(faulty_services: EmbeddedServices, database_url: str) -> Iterator[Supervisor]:
    """A supervisor in this process, without workers; its threads are not started."""
    settings = Settings(key_prefix="liveness", lease_seconds=paced(2.0), reconcile_seconds=0.3)
    options = SupervisorOptions(
        (), Registry(()), MarketTargets(), Limits(), grace_seconds=1.0, metrics_host="127.0.0.1", metrics_port=None
    )
    made = Supervisor(settings, faulty_services.redis.url, database_url, options)
    yield made
    made._pool.close()
    made._streams.close()


def test_every_loop_that_does_not_turn_is_named(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _not_live(supervisor) == set()
    now = time.monotonic()
    for later, names in ((55.0, set[str]()), (75.0, QUICK), (125.0, QUICK | RARE), (140.0, QUICK | RARE | SLOW)):
        clock = SimpleNamespace(monotonic=lambda later=later: now + later)
        monkeypatch.setattr(host_module, "time", clock)
        assert _not_live(supervisor) == names


def test_a_loop_that_hangs_is_named_and_the_others_are_not(
    supervisor: Supervisor, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_module, "LIVE_SECONDS", 2.0)
    threads = [supervisor._leases, supervisor._heartbeat, supervisor._follower, supervisor._orders]
    threads += supervisor._loops.values()
    for thread in threads:
        thread.start()

    def named() -> set[str]:
        supervisor._turn(0.01)
        return _not_live(supervisor)

    try:
        with connect(database_url) as connection, connection.transaction():
            connection.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
            wait_until(lambda: named() == {"outbox"}, 60, "the outbox relay waits for the table")
        wait_until(lambda: named() == set(), 60, "it goes on")
    finally:
        supervisor._shut_down()
    assert not any(thread.is_alive() for thread in threads)


def _not_live(supervisor: Supervisor) -> set[str]:
    return {line.split(" has not turned for ")[0] for line in supervisor.not_live()}
