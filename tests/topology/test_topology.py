"""The stack of docker-compose.yml runs: its processes on loopback, with the roles of its init script."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness import ServiceUrls, wait_until
from patience import paced, patient
from pgbouncer import running_pgbouncer
from streamworkers.config import Settings
from streamworkers.database import connect, fetch_value
from streamworkers.embedded.programs import find_postgres_programs
from streamworkers.errors import UsageError
from topology.compose import REPOSITORY, compose_text, our_services, services, variables_of
from topology.processes import ServiceProcess

_LOGINS = ("streamworkers_owner", "streamworkers_worker", "streamworkers_grafana")
_VALUES = {
    name: f"{name.lower()}-of-a-test"
    for name, (operator, _) in variables_of(compose_text()).items()
    if operator == ":?"
}
_ITEMS = 400
_SYMBOLS = ",".join(f"S{number}" for number in range(_ITEMS))
# As the entry point of the image runs what is in its folder.
_RUNS = {".sh": ["sh"], ".sql": ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file"]}
_OF_NOBODY = (
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_xact_lock(1, 2)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_create(0)",
    "SELECT pg_logical_emit_message(false, 'x', 'x')",
    "CREATE TEMPORARY TABLE mine (x int)",
    "SET temp_file_limit = -1",
    "DELETE FROM runs",
)
_LIMITS = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "lock_timeout": "2s",
    "idle_in_transaction_session_timeout": "10s",
    "idle_session_timeout": "5h",
    "temp_file_limit": "1GB",
}

Start = Callable[..., ServiceProcess]


@pytest.fixture
def database(empty_database_url: str) -> Iterator[str]:
    """A database after the first start of the postgres service, with the logins of its init script."""
    service = services(_VALUES)["postgres"]
    mounts = [volume.split(":") for volume in service["volumes"] if "docker-entrypoint-initdb.d" in volume]
    scripts = [Path(source) for source, _, _ in sorted(mounts, key=lambda mount: mount[1])]
    parts = conninfo_to_dict(empty_database_url)
    names = {"host": "PGHOST", "port": "PGPORT", "user": "POSTGRES_USER", "dbname": "POSTGRES_DB"}
    programs = find_postgres_programs(Settings().embedded_postgres_bin)
    environment = {
        **service["environment"],
        **{variable: str(parts[part]) for part, variable in names.items() if part in parts},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        **({"PGUSER": str(parts["user"])} if "user" in parts else {}),
        "PGDATABASE": str(parts["dbname"]),
    }
    with connect(empty_database_url) as admin:
        try:
            for script in scripts:
                run = _RUNS[script.suffix]
                subprocess.run([*run, str(REPOSITORY / script)], env=environment, check=True, timeout=patient(30))
            yield empty_database_url
        finally:
            admin.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(sql.Identifier(str(parts["dbname"])))
            )
            for login in _LOGINS:
                if admin.execute("SELECT FROM pg_roles WHERE rolname = %s", (login,)).fetchone() is not None:
                    admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(login)))
                    admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


@pytest.fixture
def start(database: str, service_urls: ServiceUrls, key_prefix: str, tmp_path: Path) -> Iterator[Start]:
    """A function that starts one replica of a service, with the test's database or at a URL."""
    ours = our_services(_VALUES)
    started: list[ServiceProcess] = []

    def one_of(name: str, url: str = database) -> ServiceProcess:
        environment = _on_this_host(ours[name]["environment"], url, service_urls)
        environment["STREAMWORKERS_KEY_PREFIX"] = key_prefix
        process = ServiceProcess(ours[name], environment, tmp_path / f"{name}-{len(started)}.log")
        started.append(process)
        return process

    yield one_of
    for process in started:
        process.kill_all()


def test_the_stack_runs_with_one_worker_and_with_four_and_ends_in_time(
    start: Start, database: str, record_property: Callable[[str, object], None]
) -> None:
    migrate = start("migrate")
    assert migrate.ended() == 0, migrate.log.read_text(encoding="utf-8")
    with connect(_as(database, "owner")) as owner:
        owner.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")
    scheduler, workers = start("scheduler"), [start("worker")]
    for process in (scheduler, *workers):
        process.wait_until_healthy()
    assert _shares(database, _run(workers[0], database), workers) == [1.0]

    workers += [start("worker") for _ in range(3)]
    for worker in workers:
        worker.wait_until_healthy()
    # It is healthy before its processes have loaded the jobs, and by then the others may have done them all.
    wait_until(lambda: all(worker.events("worker_started") for worker in workers), 60, "every worker has a process")
    shares = _shares(database, _run(workers[0], database), workers)
    record_property("share per worker", shares)
    assert min(shares) > 0, shares
    assert sum(shares) == pytest.approx(1)

    _stop_all([scheduler, *workers])


@pytest.fixture
def pooled(database: str) -> Iterator[str]:
    """The test's database through the PgBouncer of the guide, which knows the passwords of the file's logins."""
    logins = {}
    for service in our_services(_VALUES).values():
        login = conninfo_to_dict(service["environment"]["STREAMWORKERS_DATABASE_URL"])
        logins[str(login["user"])] = str(login["password"])
    try:
        with running_pgbouncer(database, logins) as url:
            yield url
    except UsageError as error:
        pytest.skip(str(error))


def test_the_stack_runs_through_pgbouncer(start: Start, database: str, pooled: str) -> None:
    migrate = start("migrate", pooled)
    assert migrate.ended() == 0, migrate.log.read_text(encoding="utf-8")
    with connect(_as(database, "owner")) as owner:
        owner.execute("CREATE TABLE effects (run_id bigint NOT NULL, symbol text NOT NULL)")
    scheduler, worker = start("scheduler", pooled), start("worker", pooled)
    for process in (scheduler, worker):
        process.wait_until_healthy()
    assert _shares(database, _run(worker, database), [worker]) == [1.0]

    scheduler.call("schedules", "add", "seconds", "--job", "ledger_entry", "--symbols", "A,B", "--cron", "* * * * * *")
    with connect(database) as connection:
        runs = "SELECT count(*) FROM runs JOIN ticks ON ticks.run_id = runs.id WHERE runs.status = 'COMPLETED'"
        wait_until(lambda: fetch_value(connection, runs) >= 3, what="ticks become runs, which complete")
    assert scheduler.events("store_fault") == worker.events("store_fault") == []


def test_grafanas_login_reads_and_neither_writes_nor_locks_nor_fills(start: Start, database: str) -> None:
    assert start("migrate").ended() == 0
    grafana = _as(database, "grafana")
    with psycopg.connect(grafana, autocommit=True) as reader, psycopg.connect(grafana, autocommit=True) as other:
        assert reader.execute("SELECT count(*) FROM runs").fetchone() == (0,)
        for name, value in _LIMITS.items():
            assert reader.execute(f"SHOW {name}".encode()).fetchone() == (value,)
        reader.execute("SET default_transaction_read_only = off")  # as any session may
        for statement in _OF_NOBODY:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement.encode())
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(psycopg.connect(grafana))
            with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
                psycopg.connect(grafana)
        assert other.execute("SELECT 1").fetchone() == (1,)
    with connect(_as(database, "worker")) as worker:
        worker.execute("SELECT pg_advisory_lock(1), pg_logical_emit_message(true, 'x', '')")


def _run(worker: ServiceProcess, database: str) -> int:
    """Enqueue a run in a worker's container, and wait until every item is executed once; returns its id."""
    summary = json.loads(
        worker.call("enqueue", "ledger_entry", "--symbols", _SYMBOLS, "--param", f"milliseconds={paced(30)}", "--json")
    )
    run_id = int(summary["run_id"])
    with connect(database) as connection:

        def status() -> str:
            row = connection.execute("SELECT status FROM runs WHERE id = %s", (run_id,)).fetchone()
            assert row is not None
            return str(row[0])

        wait_until(lambda: status() not in ("PENDING", "RUNNING"), what=f"run {run_id} ends")
        assert status() == "COMPLETED"
        effects = connection.execute(
            "SELECT count(*), count(DISTINCT symbol) FROM effects WHERE run_id = %s", (run_id,)
        ).fetchone()
    assert effects == (_ITEMS, _ITEMS)
    return run_id


def _shares(database: str, run_id: int, workers: list[ServiceProcess]) -> list[float]:
    """The share of a run's items that each of these supervisors executed."""
    with connect(database) as connection:
        rows = connection.execute("SELECT worker FROM run_items WHERE run_id = %s", (run_id,)).fetchall()
    done = [sum(by.startswith(worker.supervisor_id()) for (by,) in rows) for worker in workers]
    return [items / len(rows) for items in done]


def _stop_all(processes: list[ServiceProcess]) -> None:
    """Send SIGTERM to all at once, as `docker compose stop` does; each ends with 0 before it would be killed."""
    since = time.monotonic()
    for process in processes:
        process.process.terminate()
    for process in processes:
        left = since + patient(process.stop_seconds) - time.monotonic()
        assert process.process.wait(left) == 0, process.log.read_text(encoding="utf-8")


def _on_this_host(environment: dict[str, Any], database: str, urls: ServiceUrls) -> dict[str, str]:
    """The URLs of a service: the file's logins, and the test's services."""
    moved: dict[str, str] = {}
    if "STREAMWORKERS_REDIS_URL" in environment:
        moved["STREAMWORKERS_REDIS_URL"] = urls.redis
    login = conninfo_to_dict(environment["STREAMWORKERS_DATABASE_URL"])
    moved["STREAMWORKERS_DATABASE_URL"] = make_conninfo(database, user=login["user"], password=login["password"])
    return moved


def _as(database: str, login: str) -> str:
    passwords = services(_VALUES)["postgres"]["environment"]
    variable = {"owner": "OWNER_PASSWORD", "worker": "APP_PASSWORD", "grafana": "READONLY_PASSWORD"}[login]
    return make_conninfo(database, user=f"streamworkers_{login}", password=passwords[variable])
