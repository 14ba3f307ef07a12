"""Processes that stand still in the middle of a transaction: what the others can do meanwhile."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from harness import Scheduler, running_supervisor, wait_until
from patience import paced, patient
from scheduling import plan_from
from streamworkers.database import Connection, connect
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger.processes import read_processes
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition

LIMIT_SECONDS = paced(6.0)
POOL = ("--processes", "1", "--queue", "tests")


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """The environment of commands whose transactions PostgreSQL ends soon when they stand still."""
    return {
        **quick_environment,
        "STREAMWORKERS_IDLE_TRANSACTION_SECONDS": f"{LIMIT_SECONDS:g}",
        "STREAMWORKERS_LOCK_TIMEOUT_SECONDS": "0.5",
    }


@contextmanager
def _running(environment: dict[str, str], folder: Path) -> Iterator[Scheduler]:
    scheduler = Scheduler(environment, folder / f"scheduler-{len(list(folder.iterdir()))}.log", ())
    try:
        yield scheduler
    finally:
        scheduler.kill_all()


def test_a_frozen_scheduler_holds_up_neither_other_schedules_nor_an_enqueue_of_its_job(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    stop_file = tmp_path / "stopped"
    with _running(environment, tmp_path) as one, _running(environment, tmp_path) as another:
        for scheduler in (one, another):
            wait_until(lambda scheduler=scheduler: scheduler.events("scheduler_started"))  # type: ignore[misc]
        _add(connection, "other", {})
        _add(connection, "held", {"stop_file": str(stop_file)})
        wait_until(stop_file.exists, what="a scheduler stops in a transaction that has made a run")
        ticks = _count_ticks(connection, "other")
        wait_until(lambda: _count_ticks(connection, "other") >= ticks + 2, what="the other schedule ticks")
        enqueue(connection, streams, registry, RunRequest("freezing", ("A",), "test"))
        assert _count_ticks(connection, "held") == 0, "the limit ended the frozen transaction before all was tried"
        wait_until(lambda: _count_ticks(connection, "held") >= 3, what="PostgreSQL ends the frozen transaction")
        os.kill(int(stop_file.read_text()), signal.SIGCONT)
        ticks = _count_ticks(connection, "held")
        wait_until(lambda: _count_ticks(connection, "held") >= ticks + 2, what="all tick on")
        for scheduler in (one, another):
            assert scheduler.stop() == 0
    for name in ("held", "other"):
        rows = connection.execute("SELECT scheduled_for FROM runs WHERE schedule = %s ORDER BY 1", (name,)).fetchall()
        moments = [moment for (moment,) in rows]
        assert moments == [moments[0] + timedelta(seconds=number) for number in range(len(moments))]


def test_a_command_names_the_session_that_blocks_it(
    connection: Connection, database_url: str, environment: dict[str, str]
) -> None:
    _add(connection, "held", {})
    with connect(database_url, application="frozen-desk") as other, other.transaction():
        other.execute("SELECT FROM schedules FOR UPDATE")
        done = subprocess.run(
            [sys.executable, "-m", "streamworkers", "schedules", "pause", "held"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=patient(30),
        )
    assert done.returncode == 1
    assert "Error: a lock in PostgreSQL was not free within 500ms; 'frozen-desk' (pid " in done.stderr
    assert ", idle in transaction) has had a transaction open for " in done.stderr
    assert done.stderr.rstrip().endswith(" s: try again")


def test_status_and_doctor_miss_a_process_that_stands_still(
    connection: Connection, streams: Streams, environment: dict[str, str], tmp_path: Path
) -> None:
    with _running(environment, tmp_path) as scheduler, running_supervisor(environment, tmp_path, *POOL) as supervisor:
        wait_until(lambda: len(read_processes(connection)) == 2, what="both are known")
        for process in (scheduler, supervisor):
            process.process.send_signal(signal.SIGSTOP)
        assert _silent(environment) == []
        _let_pass(connection, "1 minute")
        shown = {row["kind"]: row for row in _run_json(environment, "status", "--json")["processes"]}
        assert shown["scheduler"]["silent"]
        assert shown["supervisor"]["version"] == version("streamworkers")
        assert _silent(environment) == ["silent_scheduler", "silent_supervisor"]
        for process in (scheduler, supervisor):
            process.process.send_signal(signal.SIGCONT)
        wait_until(lambda: not any(row.is_silent for row in read_processes(connection)), what="they are seen again")
        wait_until(lambda: any(row.doing.get("workers") for row in read_processes(connection)), what="one has a worker")
        doing = {row["kind"]: row["doing"] for row in _run_json(environment, "status", "--json")["processes"]}
        assert doing["supervisor"].startswith("0 of 1 busy; tests")
        assert doing["scheduler"].startswith("ticks, messages")
        assert (scheduler.stop(), supervisor.stop()) == (0, 0)
    assert read_processes(connection) == []


def test_a_killed_process_is_forgotten_when_its_successor_starts(
    connection: Connection, streams: Streams, environment: dict[str, str], tmp_path: Path
) -> None:
    with _running(environment, tmp_path) as killed:
        wait_until(lambda: read_processes(connection), what="the first is known")
    assert [row.pid for row in read_processes(connection)] == [killed.process.pid]
    _let_pass(connection, "1 minute")
    with _running(environment, tmp_path) as successor:
        wait_until(lambda: [row.pid for row in read_processes(connection)] == [successor.process.pid])


def _silent(environment: dict[str, str]) -> list[str]:
    kinds = (row["kind"] for row in _run_json(environment, "doctor", "--json"))
    return sorted(kind for kind in kinds if kind.startswith("silent_"))


def _run_json(environment: dict[str, str], *words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "streamworkers", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patient(60),
    )
    return json.loads(done.stdout)


def _let_pass(connection: Connection, interval: str) -> None:
    """Make all processes look as if they had not been seen for so much longer."""
    connection.execute("UPDATE processes SET seen_at = seen_at - %s::interval", (interval,))


def _add(connection: Connection, name: str, parameters: dict[str, str]) -> None:
    definition = {
        "name": name,
        "job": "freezing",
        "target": {"symbols": ["A"]},
        "cron": "* * * * * *",
        "catch_up": "all",
        "max_instances": 1000,
        "misfire_grace_seconds": 600,
        "parameters": parameters,
    }
    # In one transaction, or a scheduler could stand still on the row before it is planned.
    with connection.transaction():
        store.save_schedule(connection, ScheduleDefinition.parse(definition))
        plan_from(connection, store.database_clock(connection) - timedelta(seconds=3), name)


def _count_ticks(connection: Connection, schedule: str) -> int:
    row = connection.execute(
        "SELECT count(*) FROM ticks JOIN schedules ON schedules.id = schedule_id WHERE name = %s", (schedule,)
    ).fetchone()
    assert row is not None
    return int(row[0])
