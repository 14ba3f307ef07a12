"""Every loop of a supervisor and of a scheduler meets every kind of fault, says so, and recovers by itself."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import pytest
from psycopg.conninfo import make_conninfo

from faults.faulty_pool import DATABASE, LOGIN, ROLE
from harness import wait_until
from patience import paced
from scheduler.service import Scheduler, SchedulerOptions
from streamworkers.config import Settings
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.host.host import Host, stop_loops
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.loop import ServiceLoop
from streamworkers.engine.supervisor.child import Limits
from streamworkers.engine.supervisor.options import SupervisorOptions
from streamworkers.engine.supervisor.supervisor import Supervisor
from streamworkers.market.targets import MarketTargets
from tcp_proxy import TcpProxy

pytestmark = pytest.mark.timeout(300)

_OPENING = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename IS NULL"


@dataclass(frozen=True)
class Processes:
    """A supervisor without workers and a scheduler, in threads; both reach the stores through proxies."""

    services: EmbeddedServices
    redis: TcpProxy
    postgres: TcpProxy
    admin: Streams
    hosts: Sequence[Host]

    def stopped(self, store: str, kind: str) -> set[str]:
        """The loops that a kind of fault stops; services are woken, so that each tries at once."""
        for host in self.hosts:
            for loop in host.loops:
                if isinstance(loop, ServiceLoop):
                    loop.wake()
        return {
            f"{host.kind}/{standing.who}"
            for host in self.hosts
            for standing in host.faults.own()
            if (standing.fault.store, standing.fault.kind) == (store, kind)
        }

    def execute(self, statement: str) -> None:
        """Execute a statement as the superuser."""
        with self._connect() as connection:
            connection.execute(statement)

    def lock_out(self, statement: str) -> None:
        """Execute a statement that keeps the role out, and end its sessions, also one that was being opened."""
        with self._connect() as connection:
            connection.execute(statement)
            opening = {pid for (pid,) in connection.execute(_OPENING)}
            wait_until(lambda: opening.isdisjoint(pid for (pid,) in connection.execute(_OPENING)), 30)
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (ROLE,))

    def _connect(self) -> Connection:
        return connect(make_conninfo(self.services.postgres.url, dbname=DATABASE))


@pytest.fixture
def processes(faulty_services: EmbeddedServices, registry: Registry) -> Iterator[Processes]:
    faulty_services.start()
    redis = TcpProxy(str(faulty_services.redis.socket_path))
    postgres = TcpProxy(str(faulty_services.postgres.socket_folder / ".s.PGSQL.5432"))
    prefix = f"loops-{secrets.token_hex(4)}"
    settings = Settings(key_prefix=prefix, lease_seconds=paced(2.0), reconcile_seconds=0.3)
    urls = f"redis://127.0.0.1:{redis.port}", f"postgresql://{LOGIN}@127.0.0.1:{postgres.port}/{DATABASE}"
    options = SupervisorOptions(
        [["tests"]],
        Registry(()),
        MarketTargets(),
        Limits(),
        grace_seconds=1.0,
        metrics_host="127.0.0.1",
        metrics_port=None,
    )
    supervisor = Supervisor(settings, *urls, options)
    scheduler = Scheduler(settings, *urls, registry, SchedulerOptions("127.0.0.1", None))
    made = Processes(
        faulty_services,
        redis,
        postgres,
        open_streams(faulty_services.redis.url, prefix),
        [supervisor.host, scheduler.host],
    )
    loops = [loop for host in made.hosts for loop in host.loops if loop.name != "supervisor"]
    for loop in loops:
        loop.start()
    yield made
    for host in made.hosts:
        host.signals.set()
    stop_loops(loops, paced(20))
    assert not any(loop.is_alive() for loop in loops)
    supervisor.close()
    scheduler.close()
    for key in made.admin.client.raw.scan_iter(match=f"{prefix}:*"):
        made.admin.client.raw.delete(key)
    made.admin.close()
    redis.close()
    postgres.close()


Fault = Callable[[Processes], AbstractContextManager[None]]


def _rejecting(proxy: Callable[[Processes], TcpProxy]) -> Fault:
    @contextmanager
    def reject(processes: Processes) -> Iterator[None]:
        proxy(processes).reject()
        yield
        proxy(processes).resume()

    return reject


def _redis_command(words: str, back: str) -> Fault:
    @contextmanager
    def change(processes: Processes) -> Iterator[None]:
        processes.admin.client.raw.execute_command(*words.split())  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            processes.admin.client.raw.execute_command(*back.split())  # type: ignore[no-untyped-call]

    return change


def _role(change: str, back: str) -> Fault:
    @contextmanager
    def alter(processes: Processes) -> Iterator[None]:
        processes.lock_out(f"ALTER ROLE {ROLE} {change}")
        try:
            yield
        finally:
            processes.execute(f"ALTER ROLE {ROLE} {back}")

    return alter


OF_REDIS = {
    *("supervisor/lease-keeper", "supervisor/promoter", "supervisor/reclaimer", "supervisor/pruner"),
    *("scheduler/pool-watch", "scheduler/pubsub-listener", "scheduler/stream-listener", "scheduler/stream-guard"),
}
OF_POSTGRES = {
    *("supervisor/reconciler", "supervisor/outbox", "supervisor/pruner", "supervisor/heartbeat"),
    "supervisor/orders",
    *("scheduler/ticker", "scheduler/universe-cache", "scheduler/status-follower", "scheduler/outbox"),
    *("scheduler/exchange-sessions", "scheduler/heartbeat"),
}
CASES = [
    ("redis", "away", _rejecting(lambda processes: processes.redis), OF_REDIS),
    ("redis", "rejected", _redis_command("ACL SETUSER default -@all +acl", "ACL SETUSER default +@all"), OF_REDIS),
    ("postgresql", "away", _rejecting(lambda processes: processes.postgres), OF_POSTGRES),
    ("postgresql", "rejected", _role("NOLOGIN", "LOGIN"), OF_POSTGRES),
    ("postgresql", "full", _role("CONNECTION LIMIT 0", "CONNECTION LIMIT -1"), OF_POSTGRES),
]


@pytest.mark.parametrize(("store", "kind", "fault", "loops"), CASES, ids=[" ".join(case[:2]) for case in CASES])
def test_every_loop_is_stopped_by_a_fault_and_goes_on_after_it(
    store: str, kind: str, fault: Fault, loops: set[str], processes: Processes
) -> None:
    wait_until(lambda: not processes.stopped(store, kind), 30, "all is well")
    with fault(processes):
        wait_until(lambda: processes.stopped(store, kind) >= loops, 60, f"all of {loops} are stopped")
    wait_until(lambda: not processes.stopped(store, kind), 60, "all of them go on")
