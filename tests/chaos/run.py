"""A chaos run from its start to its verdict."""

import os
import platform
import sys
import time
from typing import Any

from chaos.evidence import gather
from chaos.faults import KILLS, Faults
from chaos.plan import Plan
from chaos.stage import QUEUES, Stage
from chaos.verdict import Judge, Leaks, Verdict
from patience import Deadline
from streamworkers.database import open_pool
from streamworkers.engine.redis.foreign import text_of
from streamworkers.engine.services.pruner import Pruner

_LEAK_SECONDS = 15.0
_LEDGER = ("runs open", "items open", "events waiting")


def run_chaos(plan: Plan, *, without: str | None = None, keep: bool = False) -> Verdict:
    """Carry out a plan on a stage of its own; returns the verdict. Leaves nothing behind, even if it fails."""
    with Stage(plan, without=without, keep=keep) as stage:
        Faults(stage).schedule(plan.faults, plan.enqueues)
        return finish(stage)


def finish(stage: Stage) -> Verdict:
    """Complete the schedule, wait until all work is done or makes no more progress, and judge."""
    stuck = drain(stage)
    alive = [slot.supervisor.process.pid for slot in stage.slots if slot.supervisor is not None]
    stage.stop_all()
    leaks = Leaks() if stuck else _leaks(stage)
    with stage.connection() as connection:
        evidence = gather(connection, stage.evidence, stage.logs)
    judge = Judge(stage.plan, stage.record, evidence, time.time() - time.monotonic())
    verdict = judge.verdict
    kinds = [incident.kind for incident in stage.record.incidents]
    verdict.figures |= {
        "machine": _machine(stage),
        "faults": len(kinds),
        "… of them SIGKILL of a worker or supervisor": sum(kind in KILLS for kind in kinds),
        "enqueuers killed": stage.record.enqueuers_killed,
    }
    judge.judge_items()
    judge.judge_reclaims()
    judge.judge_times()
    judge.judge_events(stage.listener)
    judge.judge_ends(leaks, stage.scraper.open_files, alive)
    for name, title in (
        ("items_fenced", "stale commits fenced off"),
        ("entries_dropped", "entries dropped because their item was closed"),
        ("entries_reclaimed", "entries whose lease ran out"),
        ("entries_requeued", "entries requeued"),
        ("items_reconciled", "items added again"),
    ):
        verdict.figures[title] = stage.scraper.total(name)
    if stuck:
        verdict.violations.append(stuck)
    return verdict


def _machine(stage: Stage) -> str:
    """The number of cores, and the versions of the services."""
    info: Any = stage.client.info("server")
    with stage.connection() as connection:
        postgres = connection.info.parameter_status("server_version")
    return (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, Redis {info['redis_version']},"
        f" PostgreSQL {postgres}"
    )


def drain(stage: Stage) -> str:
    """Wait until all work is done; returns '', or a description of work that makes no more progress."""
    least, moved_at = (sys.maxsize, sys.maxsize), stage.now()
    while True:
        if stage.is_busy:
            moved_at = stage.now()
        else:
            state = _state(stage)
            if not any(state.values()):
                return ""
            # Entries come and go, also of an item that is executed again for ever.
            left = sum(state[name] for name in _LEDGER), sum(state.values())
            if left < least:
                least, moved_at = left, stage.now()
            if stage.now() - moved_at > stage.plan.stuck_seconds:
                consumers = {queue: stage.streams.inspector.read_consumers(queue) for queue in QUEUES}
                return f"no progress for {stage.plan.stuck_seconds:g} s: {state}, consumers {consumers}"
        pause_until = stage.now() + 0.25
        while stage.now() < pause_until:
            stage.tick()


def _state(stage: Stage) -> dict[str, int]:
    """The work left in the ledger and in Redis."""
    with stage.connection() as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM runs WHERE completed_at IS NULL),"
            " (SELECT count(*) FROM run_items WHERE status IN ('pending', 'retrying')),"
            " (SELECT count(*) FROM outbox WHERE channel <> 'streamworkers:notify')"
        ).fetchone()
    assert row is not None
    backlogs = [stage.streams.inspector.read_backlog(queue) for queue in QUEUES]
    return {
        "runs open": row[0],
        "items open": row[1],
        "events waiting": row[2],
        "entries": sum(backlog.waiting + backlog.pending + backlog.delayed for backlog in backlogs),
        "runs counted": sum(len(stage.streams.inspector.read_open_counts(queue)) for queue in QUEUES),
    }


def _leaks(stage: Stage) -> Leaks:
    """What is left after all supervisors have ended and one step of the pruner has cleaned up after killed ones."""
    streams = stage.streams
    heartbeats_end = Deadline(_LEAK_SECONDS)
    while streams.inspector.read_heartbeats() and not heartbeats_end.has_passed():
        stage.tick()
    with open_pool(stage.services.postgres.url, application="chaos-pruner", max_size=1) as pool:
        Pruner(pool, streams, QUEUES, lambda: set(streams.inspector.read_heartbeats())).run_once()
    deadline = Deadline(_LEAK_SECONDS)
    while (found := _look(stage)) != Leaks() and not deadline.has_passed():
        stage.tick()
    return found


def _look(stage: Stage) -> Leaks:
    streams = stage.streams
    with stage.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        ).fetchone()
    assert row is not None
    backlogs = [streams.inspector.read_backlog(queue) for queue in QUEUES]
    return Leaks(
        keys=tuple(map(text_of, streams.inspector.find_leaked_keys())),
        entries=sum(backlog.waiting + backlog.pending + backlog.delayed for backlog in backlogs),
        consumers=tuple(name for queue in QUEUES for name in streams.inspector.read_consumers(queue)),
        processes=tuple(f"{process.pid} {process.name()}" for process in stage.processes()),
        connections=row[0],
    )
