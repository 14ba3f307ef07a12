"""Clocks jump and differ: nothing is executed twice, nothing waits for an hour, and nobody pays."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from faults.faketime import SetClock, services_with_own_clocks
from faults.faulty_pool import LEASE_SECONDS, FaultyPool, make_database
from harness import wait_until
from memory import folder_of_services
from streamworkers.engine import ledger
from streamworkers.engine.job import RunRequest
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.registry import Registry
from streamworkers.errors import UsageError

pytestmark = pytest.mark.timeout(300)
_HOUR = 3600
_MINUTE_MS = 60_000
_POSTGRES_SECONDS = 600


@dataclass
class ClockPool:
    """A pool whose PostgreSQL is ten minutes ahead, and whose Redis runs by a clock that the test sets."""

    pool: FaultyPool
    set_redis_clock: SetClock
    seconds: int = 0

    def set_clock(self, seconds: int) -> None:
        """Set Redis' clock to so many seconds from the true time, and wait until the pool has noticed a jump."""
        if seconds != self.seconds:
            noticed = len(self._jumps())
            self.set_redis_clock(seconds)
            self.seconds = seconds
            wait_until(lambda: len(self._jumps()) > noticed, what="the jump is noticed")

    def _jumps(self) -> list[dict[str, Any]]:
        """The jumps that the lease keeper has logged; the reclaimer logs those that it meets first."""
        return [event for event in self.pool.supervisor.events("clock_jumped") if "seconds" in event]


@pytest.fixture(scope="module")
def shared_clock_pool(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory, faults_environment: dict[str, str]
) -> Iterator[ClockPool]:
    folder = folder_of_services("sw-clock-")
    try:
        services, set_clock = services_with_own_clocks(folder, _POSTGRES_SECONDS)
    except UsageError as error:
        shutil.rmtree(folder)
        pytest.skip(str(error))
    try:
        services.start()
        make_database(services)
        pool = FaultyPool(services, registry, tmp_path_factory.mktemp("clock"), faults_environment)
        yield ClockPool(pool, set_clock)
        pool.close()
    finally:
        services.stop()
        shutil.rmtree(folder)


@pytest.fixture
def clock_pool(shared_clock_pool: ClockPool) -> ClockPool:
    shared_clock_pool.pool.begin()
    shared_clock_pool.set_clock(0)
    shared_clock_pool.pool.begin()
    return shared_clock_pool


def test_a_live_item_in_its_last_attempt_survives_a_jump_of_redis_clock(clock_pool: ClockPool) -> None:
    pool = clock_pool.pool
    request = RunRequest("ledger_entry", ("A",), "test", parameters={"milliseconds": 1700 * LEASE_SECONDS})
    run, _ = ledger.create_run(pool.connection, request, "tests", max_attempts=1)
    pool.streams.queues.add("tests", run.id, [Entry(run.id, 0, run.job, "A", "", 1, isolated=True).pack()])
    ledger.mark_enqueued(pool.connection, run.id)
    wait_until(pool.idle_ms, what="it is being executed, alone and in its last attempt")
    clock_pool.set_clock(_HOUR)
    pool.assert_nothing_lost(run)
    assert pool.events("entries_reclaimed") == [], "its lease was taken for expired"


@pytest.mark.parametrize("seconds", [_HOUR, -_HOUR])
def test_a_run_survives_a_jump_of_redis_clock(clock_pool: ClockPool, seconds: int) -> None:
    pool = clock_pool.pool
    run = pool.start_run()
    pool.wait_for_completed(run, 40)
    clock_pool.set_clock(seconds)
    pool.assert_nothing_lost(run)
    assert pool.events("entries_reclaimed") == []
    assert pool.probe("/readyz") == (200, "ok\n")


def test_nothing_waits_an_hour_longer_when_redis_clock_is_set_back(clock_pool: ClockPool) -> None:
    pool, streams = clock_pool.pool, clock_pool.pool.streams
    run, _ = ledger.create_run(pool.connection, RunRequest("ledger_entry", ("A", "B"), "test"), "tests", 3)
    delayed, read = (Entry(run.id, seq, run.job, symbol, "", 1).pack() for seq, symbol in enumerate("AB"))
    stream = streams.keys.stream("tests")
    pipe = pool.client.pipeline(transaction=True)
    pipe.zadd(streams.keys.delayed("tests"), {delayed: streams.inspector.read_clock_ms() + 2000 * LEASE_SECONDS})
    pipe.xadd(stream, {"e": read})
    pipe.xreadgroup("workers", "gone.1", {stream: ">"})
    pipe.set(streams.keys.supervisor("gone"), "{}", px=_MINUTE_MS)
    pipe.execute()
    ledger.mark_enqueued(pool.connection, run.id)
    clock_pool.set_clock(-_HOUR)
    pool.assert_nothing_lost(run)
    assert sum(event["count"] for event in pool.events("entries_reclaimed")) == 1
    assert pool.client.pttl(streams.keys.supervisor("gone")) <= _MINUTE_MS


def test_service_leases_and_rate_limits_do_not_outlast_a_clock_that_is_set_back(clock_pool: ClockPool) -> None:
    streams = clock_pool.pool.streams

    def hold(owner: str) -> bool:
        return streams.leases.hold_service_lease("probe", owner, _MINUTE_MS)

    def reserve(token: str) -> int:
        return streams.rate_limiter.reserve("probe", token, 1, 1, _MINUTE_MS)

    assert (hold("gone"), reserve("first")) == (True, 0)
    assert (hold("me"), reserve("second") > 0) == (False, True)
    clock_pool.set_clock(-_HOUR)
    assert hold("me")
    assert not hold("other")
    wait_until(lambda: reserve("third") == 0, what="the call of before counts for one window at most")


def test_the_doctor_names_clocks_that_differ(clock_pool: ClockPool) -> None:
    clock_pool.set_clock(_HOUR)
    pool = clock_pool.pool
    answer = pool.command("doctor", "--json")
    found = {finding["kind"]: finding["what"] for finding in json.loads(answer.out) if "clock" in finding["kind"]}
    assert found.keys() == {"redis_clock", "postgresql_clock"}
    assert re.fullmatch(r"its clock is (3599|36\d\d) s ahead of that of this machine", found["redis_clock"])
    assert re.fullmatch(r"its clock is (599|6\d\d) s ahead of that of this machine", found["postgresql_clock"])
