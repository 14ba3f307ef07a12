"""A short chaos run in every run of the tests, and negative controls, each without one guarantee."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from chaos.chaos_jobs.chaos_jobs import Long, Mixed
from chaos.evidence import Execution, read_executions
from chaos.faults import KILLS, Faults
from chaos.plan import FULL_FAULTS, MESSY, POISON, SHORT_FAULTS, Fault, Plan, full_plan, short_plan
from chaos.run import finish, run_chaos
from chaos.stage import EVIDENCE_VARIABLE, Slot, Stage
from harness import wait_until
from patience import VARIABLE, paced, patience, patient
from streamworkers.database import Connection
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.registry import Registry

TESTS = Path(__file__).parent.parent
SEED = 20


@pytest.mark.timeout(240)
def test_a_short_chaos_run_loses_nothing_doubles_nothing_and_leaves_nothing_behind() -> None:
    verdict = run_chaos(short_plan(SEED))
    assert (verdict.lost, verdict.doubled, verdict.violations) == ([], [], []), "\n".join(verdict.histories)
    assert verdict.faults.keys() == SHORT_FAULTS.keys()
    assert verdict.figures["faults"] == sum(SHORT_FAULTS.values())
    assert verdict.figures["… of them SIGKILL of a worker or supervisor"] == sum(SHORT_FAULTS[kind] for kind in KILLS)
    assert int(verdict.figures["executions"]) > int(verdict.figures["items"]) > 400


@pytest.mark.timeout(240)
def test_the_product_passes_the_schedules_that_fail_without_a_guarantee() -> None:
    with _stage(None) as stage:
        for number, schedule in enumerate(SCHEDULES.values()):
            schedule(stage, f"schedule-{number}")
        _kill_a_worker_when_none_is_there(stage)
        verdict = finish(stage)
    assert (verdict.lost, verdict.doubled, verdict.violations) == ([], [], []), "\n".join(verdict.histories)
    assert "kill_worker" in verdict.faults, "a fault waits for its target"
    assert int(verdict.figures["executions"]) > int(verdict.figures["items"])


def test_without_the_fence_a_worker_that_wakes_up_doubles_its_effects() -> None:
    with _stage("fence") as stage:
        stopped = _stop_past_the_lease(stage, "control")
        verdict = finish(stage)
    assert stopped.key in verdict.doubled
    assert verdict.lost == []
    assert f"  executed by {stopped.pid}" in "\n".join(verdict.histories)


def test_without_the_reclaimer_entries_of_a_killed_supervisor_are_stranded() -> None:
    with _stage("reclaim") as stage:
        _kill_a_supervisor(stage, "control")
        verdict = finish(stage)
    assert verdict.lost != []
    assert any("no progress" in violation for violation in verdict.violations)


def test_without_the_reconciler_an_emptied_redis_loses_work() -> None:
    with _stage("reconciler") as stage:
        run = _empty_redis(stage, "control")
        verdict = finish(stage)
    assert len(verdict.lost) >= run.item_count / 2
    assert any("no progress" in violation for violation in verdict.violations)


def test_if_user_code_were_not_charged_a_guilty_item_would_not_die_of_its_reason() -> None:
    with _stage("charge") as stage:
        _misbehave(stage, "control")
        verdict = finish(stage)
    assert not verdict.is_clean
    assert "FOREIGN-0" in "\n".join(verdict.histories)
    assert not any("innocent" in violation for violation in verdict.violations)


def test_without_the_check_of_its_transaction_a_swallowed_error_goes_unseen() -> None:
    with _stage("transaction") as stage:
        _misbehave(stage, "control")
        verdict = finish(stage)
    assert verdict.lost != [] or any("SWALLOW-0 died of" in violation for violation in verdict.violations)


def test_a_seed_determines_the_plan_and_the_full_plan_has_all_its_faults() -> None:
    assert full_plan(1) == full_plan(1)
    assert full_plan(1).faults != full_plan(2).faults
    assert full_plan(1).enqueues != full_plan(2).enqueues
    plan = full_plan(1)
    counts = {kind: sum(fault.kind == kind for fault in plan.faults) for kind in FULL_FAULTS}
    assert counts == FULL_FAULTS
    assert counts["kill_worker"] + counts["kill_supervisor"] >= 50
    assert counts["redis_restart"] + counts["redis_kill"] >= 5
    assert counts["redis_flushall"] >= 2
    assert counts["postgres_restart"] + counts["postgres_kill"] >= 3
    assert sum(len(run.symbols) for run in plan.enqueues) > 5000
    assert sum(run.is_submitted for run in plan.enqueues) == 45
    assert sum(fault.pause for fault in plan.faults) == pytest.approx(plan.seconds, rel=0.15)


def test_an_interrupted_run_leaves_no_process_and_no_folder() -> None:
    # Not pytest's folder: the path of a Unix socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="sw-"))
    folder.chmod(0o711)
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos", "--short"],
        env={"PYTHONPATH": str(TESTS), "TMPDIR": str(folder), "PATH": os.environ["PATH"], VARIABLE: str(patience())},
        start_new_session=True,
    )
    try:
        wait_until(lambda: list(folder.glob("sw-chaos-*/evidence/*")), 60, "workers execute")
        process.send_signal(signal.SIGTERM)
        assert process.wait(patient(60)) == 143
    finally:
        process.kill()
        process.wait()
    assert list(folder.iterdir()) == []
    folder.rmdir()
    assert [process for process in psutil.process_iter() if str(folder) in _environment_and_folder(process)] == []


def _environment_and_folder(process: psutil.Process) -> str:
    try:
        return f"{process.environ().get(EVIDENCE_VARIABLE)} {process.cwd()}"
    except psutil.Error:
        return ""


def _stage(without: str | None) -> Stage:
    """Two supervisors of one worker each; what does not move for longer than all leases together is stranded."""
    stuck_seconds = patient(30.0 if without is None else 6.0)
    return Stage(Plan(0, 0.0, 2, 1, paced(1.0), stuck_seconds), without=without)


def _start_run(stage: Stage, key: str, *symbols: str) -> Run:
    """Enqueue items of about a second, one item in each call."""
    with stage.connection() as connection:
        request = RunRequest(Long.name, symbols, key, parameters={"milliseconds": paced(150.0)})
        run, _ = enqueue(connection, stage.streams, Registry([Long()]), request)
    stage.record.runs[key] = run.id
    return run


def _under_way(stage: Stage, run: Run) -> list[Execution]:
    """The executions of a run that have begun and not ended."""
    return [
        execution
        for execution in read_executions(stage.evidence)
        if execution.key[0] == run.id and execution.ended is None
    ]


def _catch_holder(stage: Stage, run: Run) -> tuple[Execution, Slot]:
    """Wait for a worker in the middle of an item; returns it with its slot."""
    found: list[tuple[Execution, Slot]] = []

    def look() -> bool:
        found.extend(
            (execution, slot)
            for execution in _under_way(stage, run)
            for slot in stage.healthy_slots()
            if execution.pid in slot.worker_pids()
        )
        return bool(found)

    stage.wait_until(look, 60.0, "a worker executes an item")
    return found[0]


def _stop_past_the_lease(stage: Stage, key: str) -> Execution:
    """Stop a supervisor and its worker in the middle of an item until another worker has completed it."""
    run = _start_run(stage, key, *(f"SLOW-{number}" for number in range(4)))
    while True:
        execution, slot = _catch_holder(stage, run)
        assert slot.supervisor is not None
        slot.stopped = True
        wake = Faults(stage).stop("stop_tree", [slot.supervisor.process.pid, execution.pid], slot)
        if execution in _under_way(stage, run):
            break
        wake()

    with stage.connection() as connection:
        stage.wait_until(lambda: _is_completed(connection, execution), 60.0, "another worker completes the item")
    assert execution in _under_way(stage, run)
    wake()
    stage.wait_until(lambda: execution not in _under_way(stage, run), 60.0, "the sleeper ends its item")
    return execution


def _is_completed(connection: Connection, execution: Execution) -> bool:
    row = connection.execute("SELECT status FROM run_items WHERE run_id = %s AND seq = %s", execution.key).fetchone()
    return row == ("completed",)


def _kill_a_supervisor(stage: Stage, key: str) -> None:
    """Kill a supervisor whose worker is in the middle of an item."""
    run = _start_run(stage, key, *(f"SLOW-{number}" for number in range(4)))
    _, slot = _catch_holder(stage, run)
    began = stage.now()
    stage.happened("kill_supervisor", began, stage.kill_supervisor(slot))


def _kill_a_worker_when_none_is_there(stage: Stage) -> None:
    """Schedule a fault of a worker at a moment when no supervisor lives."""
    for slot in stage.healthy_slots():
        stage.kill_supervisor(slot)
    fault = Fault(0.0, "kill_worker", target=0)
    assert not Faults(stage).begin(fault)
    Faults(stage).schedule([fault], [])


def _empty_redis(stage: Stage, key: str) -> Run:
    """Empty Redis when the first of many items is being executed."""
    run = _start_run(stage, key, *(f"FAST-{number}" for number in range(80)))
    _catch_holder(stage, run)
    stage.client.flushall()
    return run


def _misbehave(stage: Stage, key: str) -> None:
    """Enqueue items of every kind that misbehaves without ending its process, each with neighbours in its batch."""
    words = [word for word in (*POISON, *MESSY) if word not in ("HANG", "KILL", "EXIT0")]
    symbols = [symbol for word in words for symbol in (f"{word}-0", f"FAST-{word}-1", f"FAST-{word}-2")]
    with stage.connection() as connection:
        request = RunRequest(Mixed.name, tuple(symbols), key, max_attempts=2)
        run, _ = enqueue(connection, stage.streams, Registry([Mixed()]), request)
    stage.record.runs[key] = run.id


SCHEDULES: dict[str, Callable[[Stage, str], object]] = {
    "fence": _stop_past_the_lease,
    "reclaim": _kill_a_supervisor,
    "reconciler": _empty_redis,
    "charge": _misbehave,
}
