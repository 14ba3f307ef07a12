"""The number of connections to Redis is bounded, however slow it is and however often somebody asks for metrics.

The variable CONNECTIONS_SECONDS lets the last test watch a busy system for so long, an hour for example.
"""

import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from faults.faulty_pool import FaultyPool
from harness import Scheduler, wait_until
from patience import paced, patient
from streamworkers.engine.host.http import MOST_REQUESTS
from streamworkers.engine.redis import connections
from streamworkers.engine.redis.client import RedisClient
from streamworkers.engine.redis.connections import MOST_CONNECTIONS
from streamworkers.errors import RedisUnavailableError
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition
from tcp_proxy import TcpProxy

pytestmark = pytest.mark.timeout(300)
_SECONDS = float(os.environ.get("CONNECTIONS_SECONDS", "0"))
# One for each loop of a process that talks to Redis, and one to spare.
_OF_LOOPS = {"supervisor": 8, "scheduler": 22}
_OF_A_WORKER = 1
_HANG_SECONDS = 1.0


def test_a_process_waits_for_a_connection_instead_of_opening_more(pool: FaultyPool) -> None:
    proxy = TcpProxy(str(pool.services.redis.socket_path))
    client = RedisClient(f"redis://127.0.0.1:{proxy.port}", "bound", seconds=patient(5))
    answers: list[object] = []
    threads = [threading.Thread(target=lambda: answers.append(client.raw.ping())) for _ in range(3 * MOST_CONNECTIONS)]
    proxy.hang()
    for thread in threads:
        thread.start()
    wait_until(lambda: proxy.connections >= MOST_CONNECTIONS, what="all are in use")
    proxy.resume()
    for thread in threads:
        thread.join(patient(60))
    assert answers == [True] * len(threads)
    assert proxy.connections <= MOST_CONNECTIONS
    client.close()
    proxy.close()


def test_a_connection_that_does_not_become_free_is_a_redis_that_is_away(
    pool: FaultyPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 1)
    client = RedisClient(pool.services.redis.url, "bound", seconds=0.2)
    held = client.raw.connection_pool.get_connection()
    with pytest.raises(RedisUnavailableError, match="Redis does not answer: No connection available"):
        client.run("hold_lease", ["bound:lease"], ["me", 1])
    client.raw.connection_pool.release(held)
    client.close()


def test_scrapes_of_a_redis_that_hangs_do_not_add_up(pool: FaultyPool) -> None:
    with _scraping(pool.supervisor.metrics_url()) as codes:
        pool.redis.hang()
        wait_until(lambda: codes.count(503) > 20, what="more requests are sent than are answered")
        most = _OF_LOOPS["supervisor"] + 2 * MOST_REQUESTS + 2 * _OF_A_WORKER
        assert pool.redis.connections <= most
        assert pool.probe("/livez") == (200, "ok\n")
        pool.redis.resume()
        wait_until(lambda: pool.probe("/readyz")[0] == 200, 60, "the pool is ready again")
    assert pool.redis.connections <= most


@pytest.mark.timeout(300 + _SECONDS)
def test_a_busy_system_keeps_to_its_number_of_connections(pool: FaultyPool, tmp_path: Path) -> None:
    schedule = ScheduleDefinition.parse(
        {"name": "every_second", "job": "ledger_entry", "target": {"symbols": ["A", "B"]}, "cron": "* * * * * *"}
    )
    store.save_schedule(pool.connection, schedule)
    scheduler = Scheduler(pool.environment, tmp_path / "scheduler.log", ("--metrics-port", "0"))
    most = sum(_OF_LOOPS.values()) + 4 * MOST_REQUESTS + 2 * _OF_A_WORKER
    numbers = []
    try:
        with _scraping(scheduler.metrics_url()), _scraping(pool.supervisor.metrics_url()):
            until = time.monotonic() + max(paced(2), _SECONDS)
            while time.monotonic() < until:
                pool.redis.hang()
                time.sleep(_HANG_SECONDS)
                numbers.append(pool.redis.connections)
                pool.redis.resume()
                time.sleep(_HANG_SECONDS)
                numbers.append(pool.redis.connections)
        assert max(numbers) <= most, numbers
        assert scheduler.stop() == 0
    finally:
        scheduler.kill_all()
        store.remove_schedule(pool.connection, "every_second")
    wait_until(lambda: pool.unfinished_runs() == 0, 60, "all runs end")


@contextmanager
def _scraping(url: str) -> Iterator[list[int]]:
    """Ask for metrics and readiness again and again, with an impatient client; the codes of the answers."""
    codes: list[int] = []
    stop = threading.Event()

    def ask(path: str) -> None:
        while not stop.wait(0.05):
            with suppress(OSError):
                try:
                    with urllib.request.urlopen(f"{url}{path}", timeout=0.5) as answer:
                        codes.append(answer.status)
                except urllib.error.HTTPError as error:
                    with error:
                        codes.append(error.code)

    threads = [threading.Thread(target=ask, args=(path,)) for path in ("/metrics", "/readyz") for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield codes
    finally:
        stop.set()
        for thread in threads:
            thread.join(patient(30))
