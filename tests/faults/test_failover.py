"""A replica of Redis takes the place of its primary, and the pool follows; a full disk is waited for."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from faults.faulty_pool import FaultyPool
from faults.small_disk import small_disk
from harness import wait_until
from streamworkers.config import Settings
from streamworkers.embedded.programs import find_redis_server
from streamworkers.embedded.redis_server import RedisServer
from streamworkers.engine.redis.streams import open_streams
from streamworkers.errors import RedisUnavailableError

pytestmark = pytest.mark.timeout(300)
_PASSWORD = "p%40ss"


@contextmanager
def _running(folder: Path, name: str, *words: str) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A Redis, or a sentinel, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    place = folder / name
    place.mkdir()
    config = place / "redis.conf"
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {place}", 'save ""', "repl-diskless-sync-delay 0", *words]
    if "sentinel" in name:
        lines = [line for line in lines if not line.startswith(("save", "repl"))]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [find_redis_server(Settings().embedded_redis_server), config]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--sentinel"] if "sentinel" in name else command, stdout=log, stderr=log)
    try:
        wait_until(lambda: _is_open(port), what=f"{name} answers: {(place / 'log').read_text()}")
        yield port, process
    finally:
        process.kill()
        process.wait()


def _is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _is_synced(client: Any) -> bool:
    return bool(client.info("replication").get("master_link_status") == "up")


def test_the_pool_follows_a_primary_that_is_demoted(pool: FaultyPool, folder: Path) -> None:
    """Its connections to the old primary stay open: they answer READONLY, and are left."""
    run = pool.start_run(300)
    old = pool.redis
    with _running(folder, "replica", f"replicaof 127.0.0.1 {old.port}") as (port, _):
        replica: Any = redis.Redis(port=port)
        wait_until(lambda: _is_synced(replica), what="the replica is complete")
        pool.wait_for_completed(run, 40)
        old.retarget(("127.0.0.1", port))
        replica.replicaof("NO", "ONE")
        pool.client.replicaof("127.0.0.1", port)
        try:
            pool.assert_nothing_lost(run)
            wait_until(
                lambda: "cmdstat_xreadgroup" in replica.info("commandstats"), what="workers come to the new primary"
            )
            wait_until(lambda: pool.probe("/readyz")[0] == 200, 60, "the pool is ready")
        finally:
            pool.client.replicaof("NO", "ONE")
            old.retarget(str(pool.services.redis.socket_path))
        replica.close()


def test_a_client_asks_the_sentinels_for_the_primary(folder: Path) -> None:
    login = [f"requirepass {_PASSWORD.replace('%40', '@')}", f"masterauth {_PASSWORD.replace('%40', '@')}"]
    with ExitStack() as stack:
        port, primary = stack.enter_context(_running(folder, "primary", *login))
        replica_port, _ = stack.enter_context(_running(folder, "replica", f"replicaof 127.0.0.1 {port}", *login))
        watch = [
            f"sentinel monitor pool 127.0.0.1 {port} 1",
            f"sentinel auth-pass pool {_PASSWORD.replace('%40', '@')}",
            "sentinel down-after-milliseconds pool 500",
            "sentinel failover-timeout pool 3000",
        ]
        sentinel_port, _ = stack.enter_context(_running(folder, "sentinel", *watch))
        replica: Any = stack.enter_context(redis.Redis(port=replica_port, password=_PASSWORD.replace("%40", "@")))
        wait_until(lambda: _is_synced(replica), what="the replica is complete")
        sentinel: Any = stack.enter_context(redis.Redis(port=sentinel_port))
        wait_until(lambda: sentinel.info("sentinel")["master0"]["slaves"] == 1, 60, "the sentinel knows the replica")

        nobody = "127.0.0.1:1"
        url = f"redis+sentinel://:{_PASSWORD}@{nobody},127.0.0.1:{sentinel_port}/pool/0"
        streams = open_streams(url, "failover")
        stack.callback(streams.close)
        streams.queues.ensure_groups(["tests"])
        streams.queues.add("tests", 1, [b"first"])
        wait_until(lambda: replica.xlen(streams.keys.stream("tests")) == 1, what="the replica has it")
        primary.kill()
        with pytest.raises(RedisUnavailableError):
            streams.queues.add("tests", 1, [b"lost"])

        def can_add() -> bool:
            try:
                streams.queues.add("tests", 1, [b"second"])
            except RedisUnavailableError:
                return False
            return True

        wait_until(can_add, 60, "the replica is the primary")
        found = streams.queues.read(["tests"], "one", 10, 1)
        assert [delivery.packed for delivery in found] == [b"first", b"second"]


def test_redis_on_a_full_disk_is_away_and_is_back_when_there_is_room(folder: Path) -> None:
    with small_disk(folder, 16) as disk:
        server = RedisServer(disk / "redis", disk / "redis", None)
        server.start()
        streams = open_streams(server.url, "disk")
        try:
            streams.queues.add("tests", 1, [b"kept"])
            filler = disk / "filler"
            with pytest.raises(OSError, match="No space left"):
                filler.write_bytes(bytes(32 << 20))

            def is_rejected() -> bool:
                try:
                    streams.queues.add("tests", 1, [b"more" * 1000])
                except RedisUnavailableError:
                    return True
                return False

            wait_until(is_rejected, 60, "Redis rejects what it cannot write")
            assert streams.inspector.read_server_state()["aof_last_write_status"] == "err"
            with pytest.raises(RedisUnavailableError, match="MISCONF"):
                streams.probe_write()
            filler.unlink()
            wait_until(lambda: not is_rejected(), 60, "Redis takes writes again")
            assert streams.queues.read(["tests"], "one", 1, 1)[0].packed == b"kept"
        finally:
            streams.close()
            server.stop()
