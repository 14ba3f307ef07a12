"""Rights are taken, names change and stores fill up while a pool works: it waits, says why, and goes on by itself."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from faults.faulty_pool import PASSWORD, ROLE, FaultyPool, assert_for
from harness import wait_until
from patience import Deadline, paced

pytestmark = pytest.mark.timeout(300)
Fault = Callable[[FaultyPool], AbstractContextManager[None]]


def _denied(*rules: str) -> Fault:
    """Change the rights of the pool's user in Redis."""

    @contextmanager
    def change(pool: FaultyPool) -> Iterator[None]:
        pool.client.execute_command("ACL", "SETUSER", "default", *rules)
        try:
            yield
        finally:
            pool.client.execute_command("ACL", "SETUSER", "default", "+@all")

    return change


@contextmanager
def _another_password(pool: FaultyPool) -> Iterator[None]:
    """Set a password that the pool does not know, and end all connections."""
    socket = str(pool.services.redis.socket_path)
    admin = redis.Redis(unix_socket_path=socket, single_connection_client=True)
    admin.config_set("requirepass", "another")
    admin.client_kill_filter(_type="normal", skipme=True)
    try:
        yield
    finally:
        admin.config_set("requirepass", "")
        admin.close()
        pool.client.connection_pool.disconnect()


@contextmanager
def _foreign_key(pool: FaultyPool) -> Iterator[None]:
    """Put a key of another type where the stream was."""
    name = pool.streams.keys.stream("tests")
    pool.client.delete(name)
    pool.client.set(name, "of another program")
    try:
        yield
    finally:
        pool.client.delete(name)


def _changed(change: str, back: str) -> Fault:
    """Change something in PostgreSQL."""

    @contextmanager
    def run(pool: FaultyPool) -> Iterator[None]:
        pool.connection.execute(change)
        try:
            yield
        finally:
            pool.connection.execute(back)

    return run


@contextmanager
def _no_connection_left(pool: FaultyPool) -> Iterator[None]:
    """Take every connection that PostgreSQL has, those of the pool too."""
    url = make_conninfo(pool.database_url, user=ROLE, password=PASSWORD, application_name="filler")
    others = f"FROM pg_stat_activity WHERE usename = '{ROLE}' AND application_name <> 'filler'"
    taken, deadline, clear = list[psycopg.Connection[Any]](), Deadline(60), 0
    try:
        while clear < 3:
            assert not deadline.has_passed()
            with suppress(psycopg.OperationalError):
                while True:
                    taken.append(psycopg.connect(url))
            left = pool.connection.execute(f"SELECT pg_terminate_backend(pid) {others}").fetchall()
            clear = 0 if left else clear + 1
        yield
    finally:
        for each in taken:
            each.close()


@dataclass(frozen=True)
class Case:
    """A fault, its store and kind, what the probe says of it, and what the doctor does: its exit code and a finding."""

    fault: Fault
    store: str
    kind: str
    text: str
    code: int = 1
    finding: str = "worker_holds"


CASES = {
    "a right to read": Case(
        _denied("-xreadgroup"),
        "redis",
        "rejected",
        r"Redis rejects: .*read\.lua calls .*XREADGROUP.*operations\.md#rights",
    ),
    "a right of a script": Case(_denied("-xack"), "redis", "rejected", r"Redis rejects: .*finish\.lua calls .*XACK"),
    "another password": Case(
        _another_password, "redis", "rejected", r"Redis rejects: NOAUTH .*STREAMWORKERS_REDIS_URL", 3, ""
    ),
    "a key of another type": Case(_foreign_key, "redis", "rejected", r"Redis rejects: WRONGTYPE ", 3, ""),
    "a right of the workers": Case(
        _changed(f"REVOKE UPDATE ON run_items FROM {ROLE}", f"GRANT UPDATE ON run_items TO {ROLE}"),
        "postgresql",
        "rejected",
        "PostgreSQL rejects: InsufficientPrivilege: permission denied for table run_items: grant the right",
    ),
    "a right of a service": Case(
        _changed(f"REVOKE SELECT ON outbox FROM {ROLE}", f"GRANT SELECT ON outbox TO {ROLE}"),
        "postgresql",
        "rejected",
        r"PostgreSQL rejects: InsufficientPrivilege: permission denied for table outbox: .*\(outbox, for \d+ s\)",
        code=3,
        finding="",
    ),
    "a table of another release": Case(
        _changed("ALTER TABLE runs RENAME TO runs_of_old", "ALTER TABLE runs_of_old RENAME TO runs"),
        "postgresql",
        "rejected",
        "PostgreSQL rejects: UndefinedTable: .*run `streamworkers migrate`",
        2,
        "",
    ),
    "all connections": Case(
        _no_connection_left, "postgresql", "full", "PostgreSQL is full: .*raise `max_connections`", 3, ""
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_fault_that_somebody_has_to_correct(name: str, pool: FaultyPool) -> None:
    case = CASES[name]
    with ExitStack() as stack:
        run = pool.start_run_to_meet(200, 20, lambda: stack.enter_context(case.fault(pool)))
        wait_until(lambda: _is_reported(pool, case), 60, f"the probe says {case.text}: {pool.probe('/readyz')}")
        assert pool.probe("/livez") == (200, "ok\n")
        wait_until(lambda: _count(pool, case.store, case.kind) > 0, 60, "the metric counts it")
        wait_until(lambda: _is_logged(pool, case), 60, "the log has it")
        with pool.no_spinning():
            assert_for(paced(0.5), lambda: _is_reported(pool, case), "it is reported for as long as it lasts")
        if case.finding:
            wait_until(lambda: _is_in_heartbeat(pool, case), 30, "the heartbeat carries it")
        answer = pool.command("doctor", "--json")
        assert answer.code == case.code, answer
        if case.finding:
            found = {row["kind"]: row["what"] for row in json.loads(answer.out)}
            assert re.search(f"hold since .* UTC: {case.text}", found[case.finding]), found
    pool.assert_nothing_lost(run)
    wait_until(lambda: pool.probe("/readyz") == (200, "ok\n"), 30, "the pool is ready again")
    assert _count(pool, case.store, case.kind) == 0


def _is_reported(pool: FaultyPool, case: Case) -> bool:
    code, text = pool.probe("/readyz")
    return code == 503 and re.search(case.text, text) is not None


def _is_logged(pool: FaultyPool, case: Case) -> bool:
    return (case.store, case.kind) in {(event["store"], event["kind"]) for event in pool.events("store_fault")}


def _is_in_heartbeat(pool: FaultyPool, case: Case) -> bool:
    holds = [worker.hold for status in pool.streams.inspector.read_heartbeats().values() for worker in status.workers]
    return any(hold is not None and (hold.store, hold.kind) == (case.store, case.kind) for hold in holds)


def _count(pool: FaultyPool, store: str, kind: str) -> float:
    line = f'streamworkers_store_faults{{kind="{kind}",store="{store}"}} '
    return float(pool.probe("/metrics")[1].partition(line)[2].split()[0])
