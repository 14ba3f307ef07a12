"""A backfill goes on when its scheduler is killed, and a worker: each session is complete exactly once."""

import os
import signal
from datetime import date
from pathlib import Path

from harness import Scheduler, running_supervisor, wait_until
from streamworkers.actor import LOCAL
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.schedules import store
from streamworkers.schedules.backfills.period import Period
from streamworkers.schedules.backfills.store import BackfillOptions, add_backfill, count_ticks
from streamworkers.schedules.backfills.subject import plan_backfill, require_ticks, subject_of_schedule
from streamworkers.schedules.definition import ScheduleDefinition
from submitting import install_jobs

_SESSIONS = 5
_SYMBOLS = ("S0", "S1", "S2")
_COUNTS = "SELECT count(*), count(DISTINCT scheduled_for) FROM runs WHERE schedule = 'evening' AND status = 'COMPLETED'"


def _add(connection: Connection, hold: Path) -> int:
    """Store a backfill of five sessions, two runs at once, whose items do not end while the file is there."""
    fields = {
        "name": "evening",
        "job": "ledger_entry",
        "target": {"symbols": list(_SYMBOLS)},
        "cron": "10 18 * * *",
        "calendar": "XNYS",
        "parameters": {"hold": str(hold)},
        "enabled": False,
    }
    store.save_schedule(connection, ScheduleDefinition.parse(fields))
    schedule = store.require_schedule(connection, "evening")
    period = Period(date(2024, 7, 1), date(2024, 7, 8))
    timing = require_ticks(schedule.name, schedule.require_definition())
    plan = plan_backfill(connection, subject_of_schedule(schedule), timing, period, again=False)
    added = add_backfill(connection, plan.subject, period, plan.ticks, BackfillOptions(2, False, "local"), LOCAL)
    assert added.counts == {"waiting": _SESSIONS}
    assert added.id is not None
    return added.id


def test_each_session_is_complete_once_after_the_scheduler_and_a_worker_were_killed(
    connection: Connection, streams: Streams, registry: Registry, quick_environment: dict[str, str], tmp_path: Path
) -> None:
    install_jobs(connection, registry)
    hold = tmp_path / "hold"
    hold.touch()
    backfill = _add(connection, hold)

    def is_busy() -> bool:
        return any(each.busy for one in streams.inspector.read_heartbeats().values() for each in one.workers)

    def count(state: str) -> int:
        return count_ticks(connection, [backfill])[backfill].get(state, 0)

    # Nobody executes yet, so the first scheduler is killed with two runs open.
    first = Scheduler(quick_environment, tmp_path / "first.log", ("--metrics-port", "0"))
    try:
        wait_until(lambda: count("started") == 2, what="two runs are started")
    finally:
        first.process.kill()
        first.kill_all()
    second = Scheduler(quick_environment, tmp_path / "second.log", ("--metrics-port", "0"))
    try:
        with running_supervisor(quick_environment, tmp_path, "--processes", "1") as supervisor:
            wait_until(is_busy, 60, "the worker executes an item")
            killed = supervisor.worker_pids()[0]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: killed not in supervisor.worker_pids(), what="the worker has ended")
            hold.unlink()
            wait_until(
                lambda: fetch_value(connection, "SELECT ended_at IS NOT NULL FROM backfills"), 120, "the backfill ends"
            )
            assert supervisor.stop() == 0
        assert second.stop() == 0
    finally:
        second.kill_all()
    assert count_ticks(connection, [backfill])[backfill] == {"completed": _SESSIONS}
    assert connection.execute(_COUNTS).fetchone() == (_SESSIONS, _SESSIONS)
    assert fetch_value(connection, "SELECT count(*) FROM runs WHERE schedule = 'evening'") == _SESSIONS
    effects = connection.execute("SELECT count(*), count(DISTINCT (run_id, symbol)) FROM effects").fetchone()
    assert effects == (_SESSIONS * len(_SYMBOLS), _SESSIONS * len(_SYMBOLS))
