"""A disk of PostgreSQL is full, and a replica takes the place of a primary that died: the pool goes on by itself."""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from faults.faulty_pool import DATABASE, LEASE_SECONDS, LOGIN, FaultyPool
from faults.small_disk import small_disk
from harness import effects_of, items_of, running_supervisor, start_run, wait_for_end, wait_until
from patience import paced, patient
from streamworkers.database import connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.embedded.postgres_server import PostgresServer
from streamworkers.embedded.programs import find_postgres_programs
from streamworkers.engine.ledger import count_items
from streamworkers.engine.redis.streams import open_streams
from streamworkers.engine.registry import Registry
from tcp_proxy import TcpProxy

pytestmark = pytest.mark.timeout(300)
_PROGRAMS = find_postgres_programs(None)
_DISK_MEGABYTES = 256


@contextmanager
def _copied(source: PostgresServer, folder: Path, *words: str) -> Iterator[PostgresServer]:
    """A copy of a running server, on a socket of its own; with `-R` a replica."""
    server = PostgresServer(folder, folder / "run", None)
    folder.mkdir()
    # A replica may be another user than its primary, whose socket it cannot reach then.
    with TcpProxy(str(source.socket_folder / ".s.PGSQL.5432")) as proxy:
        url = make_conninfo(source.url, host="127.0.0.1", port=proxy.port)
        options = ["-d", url, "-D", str(server.data), "--checkpoint=fast", "--no-sync", *words]
        subprocess.run([_PROGRAMS / "pg_basebackup", *options], check=True, timeout=patient(60))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _promote(server: PostgresServer) -> None:
    with connect(server.url) as connection:
        assert connection.execute("SELECT pg_promote(wait_seconds => 60)").fetchone() == (True,)


def test_a_postgres_without_disk_space_is_waited_for(pool: FaultyPool, folder: Path) -> None:
    """First for data, which PostgreSQL rejects; then for its log, which ends it, and it is started again."""
    with (
        small_disk(folder, _DISK_MEGABYTES) as disk,
        _copied(pool.services.postgres, disk / "postgres") as server,
        pool.using(server),
    ):
        filler = disk / "filler"
        _end_for_good_when_the_log_is_full(server)
        with connect(server.url) as session:
            run = pool.start_run_to_meet(300, 20, lambda: _fill(filler))
            wait_until(lambda: "PostgreSQL is full: DiskFull: " in pool.probe("/readyz")[1], 60, "the pool says so")
            wait_until(lambda: _has_ended_without_space(session, server, filler), 60, "PostgreSQL has ended")
        wait_until(lambda: "PostgreSQL does not answer: " in pool.probe("/readyz")[1], 60, "the pool says so")
        assert pool.probe("/livez") == (200, "ok\n")
        filler.unlink()
        server.start()
        pool.reconnect()
        assert 0 < pool.completed(run) < 300
        pool.assert_nothing_lost(run)


def _end_for_good_when_the_log_is_full(server: PostgresServer) -> None:
    """Else it recovers by itself, and the recovery may make the room that it needs."""
    with connect(server.url) as connection:
        connection.execute("ALTER SYSTEM SET restart_after_crash = off")
        connection.execute("SELECT pg_reload_conf()")


def _fill(filler: Path) -> None:
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            continue


def _has_ended_without_space(session: psycopg.Connection, server: PostgresServer, filler: Path) -> bool:
    """Let PostgreSQL begin another file of its log on a full disk; the files that it has prepared are used up first."""
    with suppress(psycopg.Error):
        _fill(filler)
        session.execute("SELECT pg_switch_wal()")
        session.execute("SELECT pg_create_restore_point('another')")
    return server.process() is None


def test_the_pool_follows_a_primary_to_its_promoted_replica(
    faulty_services: EmbeddedServices, registry: Registry, faults_environment: dict[str, str], folder: Path
) -> None:
    prefix = f"failover-{secrets.token_hex(4)}"
    with (
        _copied(faulty_services.postgres, folder / "primary") as primary,
        _copied(primary, folder / "replica", "-R") as replica,
        closing(open_streams(faulty_services.redis.url, prefix)) as streams,
    ):
        hosts = f"{primary.socket_folder},{replica.socket_folder}"
        url = f"postgresql://{LOGIN}@/{DATABASE}?host={hosts}&target_session_attrs=read-write"
        environment = {
            **faults_environment,
            "STREAMWORKERS_REDIS_URL": faulty_services.redis.url,
            "STREAMWORKERS_DATABASE_URL": url,
            "STREAMWORKERS_KEY_PREFIX": prefix,
            "STREAMWORKERS_LEASE_SECONDS": str(LEASE_SECONDS),
            "STREAMWORKERS_RECONCILE_SECONDS": "0.3",
            "STREAMWORKERS_LOG_FORMAT": "json",
        }
        symbols = [f"S{number:03}" for number in range(120)]
        words = ("--processes", "1", "--queue", "tests", "--metrics-port", "0")
        with connect(url) as connection:
            connection.execute("UPDATE installation SET id = gen_random_uuid(), key_prefix = NULL")
            parameters = {"milliseconds": paced(5)}
            run = start_run(connection, streams, registry, "ledger_entry", *symbols, parameters=parameters)
            with running_supervisor(environment, folder, *words) as supervisor:
                wait_until(lambda: count_items(connection, run).get("completed", 0) >= 20, 60, "it works")
                process = primary.process()
                assert process is not None
                process.kill()
                wait_until(lambda: supervisor.events("store_fault"), 60, "the pool has noticed")
                _promote(replica)
                with connect(url) as other:
                    assert wait_for_end(other, run, 90) == "COMPLETED"
                    items = items_of(other, run)
                    assert {(state, attempt) for state, attempt, _ in items.values()} == {("completed", 1)}
                    assert effects_of(other, run) == sorted(items) == symbols
                assert supervisor.events("worker_ended") == []
                assert supervisor.stop() == 0
