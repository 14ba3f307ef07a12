"""Redis restarts, empties, rejects, vanishes and hangs in the middle of a run, and the run completes by itself."""

import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from faults.faulty_pool import LEASE_SECONDS, OUTAGE_SECONDS, FaultyPool, assert_for
from harness import items_of, start_run, wait_for_end, wait_until
from patience import patient
from streamworkers.diagnosis.redis_checks import find_eviction
from streamworkers.engine import ledger
from streamworkers.engine.job import RunRequest
from streamworkers.engine.redis.entry import Entry

pytestmark = pytest.mark.timeout(300)
Outage = Callable[[FaultyPool], AbstractContextManager[None]]


def _stop(pool: FaultyPool) -> None:
    pool.services.redis.stop()


def _kill(pool: FaultyPool) -> None:
    process = pool.services.redis.process()
    assert process is not None
    process.kill()
    wait_until(lambda: pool.services.redis.process() is None, what="Redis is dead")


@pytest.mark.parametrize("end", [_stop, _kill])
def test_redis_restarts_with_its_file(pool: FaultyPool, end: Callable[[FaultyPool], None]) -> None:
    run = pool.start_run()
    pool.wait_for_completed(run, 40)
    end(pool)
    pool.services.redis.start()
    pool.assert_nothing_lost(run)


def test_redis_restarts_without_its_file(pool: FaultyPool) -> None:
    pool.client.set("kept", "in the file")
    run = pool.start_run_to_meet(200, 40, lambda: _restart_without_file(pool))
    assert pool.client.get("kept") is None
    pool.assert_nothing_lost(run)
    assert pool.events("items_added_again")


def _restart_without_file(pool: FaultyPool) -> None:
    _kill(pool)
    for path in pool.services.redis.folder.glob("appendonly*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    pool.services.redis.start()


def _flush_everything(pool: FaultyPool) -> None:
    pool.client.flushall()


def _flush_scripts(pool: FaultyPool) -> None:
    pool.client.script_flush()


def _destroy_the_group(pool: FaultyPool) -> None:
    assert pool.client.xgroup_destroy(pool.streams.keys.stream("tests"), "workers") == 1


def _delete_the_stream(pool: FaultyPool) -> None:
    assert pool.client.delete(pool.streams.keys.stream("tests")) == 1


def _cut_connections(pool: FaultyPool) -> None:
    pool.redis.cut()


LOSSES = [_flush_everything, _flush_scripts, _destroy_the_group, _delete_the_stream, _cut_connections]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_loss_in_the_middle_of_a_run(pool: FaultyPool, lose: Callable[[FaultyPool], None]) -> None:
    run = pool.start_run(150)
    pool.wait_for_completed(run, 40)
    lose(pool)
    pool.assert_nothing_lost(run)


@pytest.mark.parametrize("lose", LOSSES)
def test_a_loss_while_workers_are_blocked_in_a_read(pool: FaultyPool, lose: Callable[[FaultyPool], None]) -> None:
    pool.wait_for_blocked_readers()
    lose(pool)
    run = pool.start_run(40)
    pool.assert_nothing_lost(run)


@contextmanager
def _rejected(pool: FaultyPool) -> Iterator[None]:
    pool.redis.reject()
    yield
    pool.redis.resume()


@contextmanager
def _stopped(pool: FaultyPool) -> Iterator[None]:
    _stop(pool)
    yield
    pool.services.redis.start()


@contextmanager
def _read_only(pool: FaultyPool) -> Iterator[None]:
    pool.client.replicaof("127.0.0.1", 1)
    try:
        yield
    finally:
        pool.client.replicaof("NO", "ONE")


@contextmanager
def _busy_with_a_script(pool: FaultyPool) -> Iterator[None]:
    pool.client.config_set("lua-time-limit", 20)
    with _command_in_background(pool, "EVAL", "while true do end", 0):
        _wait_for_rejection(pool, "BUSY")
        try:
            yield
        finally:
            pool.client.script_kill()


@contextmanager
def _command_in_background(pool: FaultyPool, *words: str | int) -> Iterator[None]:
    def send() -> None:
        with (
            redis.Redis.from_url(pool.services.redis.url, socket_timeout=patient(100)) as client,
            suppress(redis.ResponseError),
        ):
            client.execute_command(*words)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _wait_for_rejection(pool: FaultyPool, word: str) -> None:
    def is_rejected() -> bool:
        try:
            pool.client.set("there?", "", ex=1)
        except redis.RedisError as error:
            return word in str(error)
        return False

    wait_until(is_rejected, 30, f"Redis says {word}")


@pytest.mark.parametrize("outage", [_rejected, _stopped, _busy_with_a_script, _read_only])
def test_redis_is_away_for_longer_than_a_lease(pool: FaultyPool, outage: Outage) -> None:
    run = pool.start_run(150)
    pool.wait_for_completed(run, 30)
    with outage(pool):
        wait_until(lambda: len(pool.waiting_workers()) == 2, 30, "both workers have noticed")
        wait_until(lambda: _is_told(pool), 30, "the probes have noticed")
        with pool.no_spinning():
            assert_for(OUTAGE_SECONDS, lambda: _is_told(pool), "the pool is alive and not ready")
        assert pool.probe("/metrics")[0] == 200
    pool.assert_nothing_lost(run)
    wait_until(lambda: pool.probe("/readyz")[0] == 200, 30, "the pool is ready again")


def test_nobody_pays_an_attempt_for_a_lease_that_ran_out_because_redis_was_away(pool: FaultyPool) -> None:
    request = RunRequest("ledger_entry", ("A",), "test", parameters={"milliseconds": 5000 * LEASE_SECONDS})
    run, _ = ledger.create_run(pool.connection, request, "tests", max_attempts=1)
    pool.streams.queues.add("tests", run.id, [Entry(run.id, 0, run.job, "A", "", 1, isolated=True).pack()])
    ledger.mark_enqueued(pool.connection, run.id)
    wait_until(pool.idle_ms, what="it is being executed, alone and in its last attempt")
    pool.redis.reject()
    wait_until(lambda: min(pool.idle_ms()) > 1500 * LEASE_SECONDS, what="its lease has run out")
    pool.redis.resume()
    wait_until(lambda: pool.events("entries_reclaimed"), 60, "the lease is found to have run out")
    pool.assert_nothing_lost(run)


def test_redis_loads_its_file_for_longer_than_a_lease(pool: FaultyPool) -> None:
    # While it loads, a server looks after its clients once in two megabytes.
    fillers = {f"filler-{number}": os.urandom(2_500_000) for number in range(12)}
    try:
        pool.client.execute_command("DEBUG", "SLEEP", 0)  # from 7.0 on a server may reject this family
        pool.client.config_set("key-load-delay", round(1.5 * OUTAGE_SECONDS / len(fillers) * 1_000_000))
    except redis.ResponseError as error:
        pytest.skip(f"this Redis cannot be made to load slowly: {error}")
    pool.client.mset(fillers)
    try:
        run = pool.start_run(150)
        pool.wait_for_completed(run, 30)
        with _command_in_background(pool, "DEBUG", "RELOAD"):
            wait_until(lambda: len(pool.waiting_workers()) == 2, 30, "both workers have noticed")
        assert any("loading" in event["error"] for event in pool.events("store_fault"))
        pool.assert_nothing_lost(run)
    finally:
        pool.client.config_set("key-load-delay", 0)
        pool.client.delete(*fillers)


def test_redis_is_a_black_hole_for_longer_than_any_wait(pool: FaultyPool) -> None:
    run = pool.start_run(150)
    pool.wait_for_completed(run, 30)
    pool.redis.hang()
    with pool.no_spinning():
        assert _is_told(pool)
        wait_until(lambda: len(pool.waiting_workers()) == 2, 30, "both workers have noticed")
    assert min(pool.idle_ms(), default=0) >= 1000 * LEASE_SECONDS
    pool.redis.resume()
    pool.assert_nothing_lost(run)


def test_connections_are_cut_in_the_middle_of_replies(pool: FaultyPool) -> None:
    for run in pool.cut_replies(pool.redis, until=lambda: len(pool.waiting_workers()) == 2):
        pool.assert_nothing_lost(run)


def test_entries_of_a_reply_that_never_arrived_are_put_back_also_while_the_worker_is_busy(pool: FaultyPool) -> None:
    run = pool.start_run(1000)
    pool.wait_for_completed(run, 20)
    consumer = pool.supervisor.events("worker_started")[-1]["consumer"]
    lost = {delivery.entry_id for delivery in pool.streams.queues.read(["tests"], consumer, 5, 1)}
    assert len(lost) == 5
    wait_until(
        lambda: not lost & pool.streams.queues.find_owned("tests", consumer), 30, "what nobody holds is put back"
    )
    assert pool.streams.inspector.read_backlog("tests").waiting > 100, "the workers are still busy"
    pool.assert_nothing_lost(run)


def test_redis_is_out_of_memory(pool: FaultyPool) -> None:
    run = pool.start_run(150)
    pool.wait_for_completed(run, 30)
    pool.client.config_set("maxmemory", 1)
    try:
        answer = pool.command("enqueue", "ledger_entry", "--symbols", "A,B")
        assert answer.code == 3
        rejected = re.fullmatch(
            r"Error: run (\d+) is in the ledger and will start when Redis can be used; do not enqueue it again\."
            r" Redis is full: OOM command not allowed when used memory[^\n]*\n",
            answer.err,
        )
        assert rejected, answer.err
        wait_until(lambda: _is_told(pool), 30, "the probes have noticed")
        with pool.no_spinning():
            assert_for(OUTAGE_SECONDS, lambda: _is_told(pool), "the pool is alive and not ready")
    finally:
        pool.client.config_set("maxmemory", 0)
    for started in (run, ledger.load_run(pool.connection, int(rejected[1]))):
        assert started is not None
        pool.assert_nothing_lost(started)


def test_the_queue_of_a_full_redis_drains_by_itself(pool: FaultyPool) -> None:
    """What fails is retried, and what a killed worker held is requeued, though Redis takes no new entries."""
    run = pool.start_run(150)
    pool.wait_for_completed(run, 10)
    symbols = ("A", "RAISE", "SIGKILL", "B")
    troubled = start_run(pool.connection, pool.streams, pool.registry, "misbehaving", *symbols, max_attempts=2)
    pool.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.ResponseError, match="command not allowed when used memory"):
            pool.client.set("there?", "")
        assert wait_for_end(pool.connection, run, 90) == "COMPLETED"
        assert wait_for_end(pool.connection, troubled, 90) == "COMPLETED_WITH_ERRORS"
        assert {symbol: state for symbol, (state, _, _) in items_of(pool.connection, troubled).items()} == {
            **dict.fromkeys(("A", "B"), "completed"),
            **dict.fromkeys(("RAISE", "SIGKILL"), "failed"),
        }
        assert _is_told(pool)
        for words in (["doctor", "--fix"], ["dead", "purge", "--run", str(troubled.id), "--yes"]):
            answer = pool.command(*words)
            assert (answer.code <= 1, answer.err) == (True, ""), words
        backlog = pool.streams.inspector.read_backlog("tests")
        assert (backlog.waiting, backlog.pending, backlog.delayed) == (0, 0, 0)
    finally:
        pool.client.config_set("maxmemory", 0)
    assert wait_for_end(pool.connection, pool.start_run(20), 90) == "COMPLETED"


@pytest.mark.parametrize(
    ("policy", "victims"),
    [
        ("noeviction", None),
        *((f"allkeys-{how}", "queues") for how in ("lru", "lfu", "random")),
        *((f"volatile-{how}", "heartbeats, leases and rate limits") for how in ("lru", "lfu", "random", "ttl")),
    ],
)
def test_every_policy_that_evicts_is_a_finding(pool: FaultyPool, policy: str, victims: str | None) -> None:
    pool.client.config_set("maxmemory-policy", policy)
    pool.client.config_set("maxmemory", 1 << 32)
    try:
        snapshot: Any = SimpleNamespace(redis_state=pool.streams.inspector.read_server_state())
        found = [finding.what for finding in find_eviction(snapshot)]
    finally:
        pool.client.config_set("maxmemory", 0)
        pool.client.config_set("maxmemory-policy", "noeviction")
    assert found == ([f"maxmemory-policy {policy} may evict {victims}: set noeviction"] if victims else [])


def test_a_queue_that_a_full_redis_evicts_is_added_again(pool: FaultyPool) -> None:
    run = pool.start_run()
    pool.wait_for_completed(run, 20)
    snapshot: Any = SimpleNamespace(redis_state={})
    pool.client.config_set("maxmemory-policy", "allkeys-lru")
    pool.client.config_set("maxmemory", pool.client.info("memory")["used_memory"] + (1 << 20))
    try:
        assert pool.streams.inspector.read_server_state()["evicted_keys"] == 0
        wait_until(lambda: _is_evicted_by_another_program(pool), 60, "the queue is evicted")
        assert pool.unfinished_runs() == 1
        snapshot.redis_state = pool.streams.inspector.read_server_state()
    finally:
        pool.client.config_set("maxmemory", 0)
        pool.client.config_set("maxmemory-policy", "noeviction")
        pool.client.unlink(*pool.client.keys("another:*"))
        pool.client.config_resetstat()
    (finding,) = find_eviction(snapshot)
    said = (
        r"maxmemory-policy allkeys-lru may evict queues, and has evicted \d+ keys since Redis started: set noeviction"
    )
    assert re.fullmatch(said, finding.what)
    pool.assert_nothing_lost(run)
    assert pool.events("items_added_again")


def _is_evicted_by_another_program(pool: FaultyPool) -> bool:
    """Write something, as another program does, and look whether the queue's entries are gone."""
    pool.client.set(f"another:{secrets.token_hex(8)}", bytes(100_000))
    return not pool.client.exists(pool.streams.keys.stream("tests"))


def test_a_command_says_that_redis_does_not_answer(pool: FaultyPool) -> None:
    pool.redis.reject()
    answer = pool.command("enqueue", "ledger_entry", "--symbols", "A")
    assert answer.code == 3
    assert answer.err.startswith("Error: Redis does not answer: ")
    assert pool.unfinished_runs() == 0


def _is_told(pool: FaultyPool) -> bool:
    code, text = pool.probe("/readyz")
    return code == 503 and "Redis" in text and pool.probe("/livez") == (200, "ok\n")
