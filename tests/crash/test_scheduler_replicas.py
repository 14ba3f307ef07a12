"""Schedulers as real processes, killed with real signals, beside real workers."""

import os
import random
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from harness import Scheduler, running_supervisor, wait_until
from patience import patient
from scheduler.message_inbox import DATA_LOADS
from streamworkers.database import Connection
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_STREAM
from streamworkers.engine.redis.streams import Streams
from streamworkers.schedules import store
from streamworkers.schedules.account import TickPeriod
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.tick_accounts import account_for

SECONDS = float(os.environ.get("SCHEDULER_SECONDS", "12"))


@pytest.fixture
def environment(quick_environment: dict[str, str]) -> dict[str, str]:
    """Every job here is a sample job."""
    return quick_environment


@contextmanager
def _running(environment: dict[str, str], folder: Path, *words: str) -> Iterator[Scheduler]:
    scheduler = Scheduler(environment, folder / f"scheduler-{time.monotonic_ns()}.log", words)
    try:
        yield scheduler
    finally:
        scheduler.kill_all()


def _add(connection: Connection, **fields: object) -> int:
    given = {"name": "job", "job": "noop", "target": {"symbols": ["A"]}} | fields
    store.save_schedule(connection, ScheduleDefinition.parse(given))
    return store.require_schedule(connection, str(given["name"])).id


@pytest.mark.timeout(SECONDS + 120)
def test_three_schedulers_killed_at_random_make_one_run_of_every_tick(
    connection: Connection, streams: Streams, environment: dict[str, str], tmp_path: Path
) -> None:
    _add(connection, cron="* * * * * *", catch_up="all", max_instances=1000, misfire_grace_seconds=600)
    rng = random.Random(4)
    started: list[Scheduler] = []
    kills = 0
    with ExitStack() as stack:

        def start() -> Scheduler:
            scheduler = stack.enter_context(_running(environment, tmp_path))
            started.append(scheduler)
            return scheduler

        def deciders() -> set[Path]:
            return {scheduler.log for scheduler in started if scheduler.events("tick_decided")}

        steady, *others = start(), start(), start()
        wait_until(lambda: steady.events("scheduler_started"), 30)
        began = time.monotonic()
        while time.monotonic() < began + SECONDS or kills < SECONDS / 6 or len(deciders()) < 2:
            victim = rng.randrange(len(others))
            wait_until(lambda victim=victim: others[victim].events("scheduler_started"), 30)  # type: ignore[misc]
            ticks = len(_scheduled(connection))
            wait_until(lambda ticks=ticks: len(_scheduled(connection)) > ticks, 30)  # type: ignore[misc]
            others[victim].process.kill()
            others[victim].process.wait()
            kills += 1
            others[victim] = start()
        wait_until(lambda: len(_scheduled(connection)) >= SECONDS, 30)
        for scheduler in (steady, *others):
            wait_until(lambda scheduler=scheduler: scheduler.events("scheduler_started"), 30)  # type: ignore[misc]
            assert scheduler.stop() == 0
    moments = _scheduled(connection)
    assert len(moments) >= SECONDS
    assert kills >= SECONDS / 6
    every_second = [moments[0] + timedelta(seconds=number) for number in range(len(moments))]
    assert moments == every_second
    states = connection.execute("SELECT state, count(*) FROM ticks GROUP BY state").fetchall()
    assert states == [("started", len(moments))]
    (found,) = account_for(connection, TickPeriod(moments[0] - timedelta(seconds=1), moments[-1]))
    assert (found.account.ticks, found.account.rows, found.account.unaccounted) == (len(moments), len(moments), 0)
    row = connection.execute("SELECT count(*) FROM run_items").fetchone()
    assert row == (len(moments),)
    assert len(deciders()) > 1
    report = f"{len(moments)} ticks, {kills} kills, decided by {len(deciders())} of {len(started)} processes\n"
    (tmp_path / "report.txt").write_text(report)


def _scheduled(connection: Connection) -> list[datetime]:
    rows = connection.execute("SELECT scheduled_for FROM runs ORDER BY 1")
    return [moment for (moment,) in rows]


def test_a_change_takes_effect_within_a_second_and_a_stop_leaves_nothing(
    connection: Connection, streams: Streams, environment: dict[str, str], tmp_path: Path
) -> None:
    with _running(environment, tmp_path, "--metrics-port", "0") as scheduler:
        url = scheduler.metrics_url()
        _add(connection, cron="0 0 1 1 *")
        wait_until(lambda: _planned(connection), 5)
        connection.execute("UPDATE schedules SET cron = '* * * * * *', max_instances = 100")
        wait_until(lambda: len(_scheduled(connection)) >= 2, 10)
        store.set_enabled(connection, "job", False)
        row = connection.execute("SELECT clock_timestamp() + make_interval(secs => %s)", (patient(1),)).fetchone()
        assert row is not None
        wait_until(lambda: _now(connection) > row[0] + timedelta(seconds=1), 10)
        assert max(_scheduled(connection)) <= row[0]
        with urllib.request.urlopen(f"{url}/metrics", timeout=patient(5)) as answer:
            text = answer.read().decode()
        assert 'streamworkers_schedule_ticks_total{schedule="job",state="started"}' in text
        assert 'streamworkers_schedule_enabled{schedule="job"} 0.0' in text
        assert 'streamworkers_queue_entries{queue="bench",state="waiting"}' in text
        for probe in ("livez", "readyz"):
            with urllib.request.urlopen(f"{url}/{probe}", timeout=patient(5)) as answer:
                assert answer.read() == b"ok\n"
        assert scheduler.stop() == 0
        assert scheduler.events("scheduler_stopped")
    rows = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s", (f"%-{scheduler.process.pid}-%",)
    )
    assert rows.fetchall() == []


def _planned(connection: Connection) -> bool:
    return store.require_schedule(connection, "job").next_run_at is not None


def _now(connection: Connection) -> datetime:
    return store.database_clock(connection)


def test_a_message_that_three_schedulers_hear_twice_is_one_run_that_workers_complete(
    connection: Connection, streams: Streams, environment: dict[str, str], tmp_path: Path
) -> None:
    _add(connection, name="post_import_analysis", job="ledger_entry", target=None, on_event="data_load_complete")
    raw = '{"event_type": "data_load_complete", "job_id": "twice", "symbols": ["A", "B", "C"], "timeframe": "daily"}'
    messages = Messages(environment["STREAMWORKERS_REDIS_URL"], streams.keys.prefix)
    with ExitStack() as stack:
        schedulers = [stack.enter_context(_running(environment, tmp_path)) for _ in range(3)]
        worker = stack.enter_context(running_supervisor(environment, tmp_path, "--queue", "tests"))
        for scheduler in schedulers:
            wait_until(lambda scheduler=scheduler: _listens(scheduler), 30)  # type: ignore[misc]
        for _ in range(2):
            messages.publish(DATA_LOAD_CHANNEL, raw)
        messages._client.xadd(DATA_LOAD_STREAM, {"message": raw})
        status = "tickstock.jobs.status:twice"
        wait_until(lambda: messages._client.hget(status, "status") == b"completed", 30)
        assert messages._client.hget(status, "progress") == b"100"
        wait_until(lambda: sum(len(s.events("message_taken")) for s in schedulers) == 7, 10)
        outcomes = [event["outcome"] for s in schedulers for event in s.events("message_taken")]
        assert sorted(outcomes) == ["duplicate"] * 4 + ["repeated"] * 2 + ["started"]
        rows = connection.execute("SELECT state, count(*) FROM received_messages GROUP BY 1 ORDER BY 1").fetchall()
        assert rows == [("accepted", 1), ("repeated", 2)]
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (1,)
        assert connection.execute("SELECT symbol FROM effects ORDER BY 1").fetchall() == [("A",), ("B",), ("C",)]
        assert worker.stop() == 0
        assert [scheduler.stop() for scheduler in schedulers] == [0, 0, 0]
    messages._client.delete(DATA_LOAD_STREAM)
    messages.close()


def _listens(scheduler: Scheduler) -> bool:
    return {event["source"] for event in scheduler.events("listener_connected")} >= set(DATA_LOADS.sources)


def test_a_scheduler_goes_on_when_its_connections_were_cut(
    connection: Connection, streams: Streams, environment: dict[str, str], tmp_path: Path
) -> None:
    _add(connection, cron="* * * * * *", catch_up="all", max_instances=1000)
    with _running(environment, tmp_path) as scheduler:
        wait_until(lambda: len(_scheduled(connection)) >= 1, 30)
        for _ in range(3):
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s",
                (f"%-{scheduler.process.pid}-%",),
            )
            count = len(_scheduled(connection))
            wait_until(lambda count=count: len(_scheduled(connection)) > count + 1, 30)  # type: ignore[misc]
        moments = _scheduled(connection)
        assert moments == [moments[0] + timedelta(seconds=number) for number in range(len(moments))]
        assert scheduler.stop() == 0
