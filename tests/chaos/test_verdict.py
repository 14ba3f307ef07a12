"""The judge of the chaos run finds each kind of damage in evidence with it, and none in evidence without."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from chaos.evidence import Evidence, Execution, ItemKey, LedgerItem
from chaos.listener import Listener
from chaos.plan import Enqueue, Plan
from chaos.report import with_column
from chaos.stage import Goodbye, Incident, Record
from chaos.verdict import Judge, Leaks, Verdict
from patience import patient

RUN = 7
KEY = (RUN, 0)


def _item(symbol: str = "FAST-0", status: str = "completed", error: str | None = None) -> LedgerItem:
    return LedgerItem(KEY, symbol, status, 1, error, "w.1", 0.0, 5.0)


def _execution(pid: int, began: float, ended: float | None) -> Execution:
    return Execution(KEY, 1, pid, began, ended)


def _incident(kind: str, began: float, ended: float, *pids: int) -> Incident:
    return Incident(kind, began, ended, ended, frozenset(pids))


def _judge(
    item: LedgerItem | None = None,
    *,
    effects: int = 1,
    executions: Sequence[Execution] = (),
    incidents: Sequence[Incident] = (),
    record: Mapping[str, Any] | None = None,
    **evidence: Any,
) -> Judge:
    """A judge of one run with one item, without damage unless given."""
    item = item or _item()
    plan = Plan(1, 10.0, 1, 1, 2.0, 10.0, [Enqueue(0.0, "key", "chaos_mixed", (item.symbol,), 1.0, 3)])
    kept = Record(runs={"key": RUN}, incidents=list(incidents), **(record or {}))
    found: dict[str, Any] = {"events": {}, "added_again": {}, "requeued": {}, "reclaimed": []}
    found |= {"open_runs": [], "events_waiting": 0} | evidence
    written: dict[ItemKey, list[tuple[int, int, float]]] = {KEY: [(1, 1, 5.0)] * effects}
    return Judge(plan, kept, Evidence({KEY: item}, {KEY: list(executions)}, written, **found), 0.0)


def _judged(judge: Judge) -> Verdict:
    judge.judge_items()
    judge.judge_reclaims()
    judge.judge_times()
    return judge.verdict


def _listener(received: Sequence[str] = (), disconnected: Sequence[tuple[float, float]] = ()) -> Listener:
    listener = Listener("redis://127.0.0.1:1")
    listener.received.update(received)
    listener.disconnected.extend(disconnected)
    return listener


def test_evidence_without_damage_is_clean() -> None:
    judge = _judge(executions=[_execution(1, 1.0, 2.0)], events={"a": 100.0})
    judge.judge_events(_listener(["a", "a"]))
    judge.judge_ends(Leaks(), {1: [20, 22]}, [1])
    assert _judged(judge).is_clean
    assert judge.verdict.figures["… received again"] == 1


@pytest.mark.parametrize("status", ["pending", "retrying"])
def test_an_open_item_is_lost(status: str) -> None:
    verdict = _judged(_judge(_item(status=status), effects=0, executions=[_execution(1, 1.0, None)]))
    assert verdict.lost == [KEY]
    assert "executed by 1, attempt 1" in "\n".join(verdict.histories)


def test_a_completed_item_without_effect_is_lost() -> None:
    assert _judged(_judge(effects=0)).lost == [KEY]


def test_two_effects_are_doubled_and_so_is_one_of_an_item_that_was_not_completed() -> None:
    assert _judged(_judge(effects=2)).doubled == [KEY]
    assert _judged(_judge(_item(status="cancelled"))).doubled == [KEY]


@pytest.mark.parametrize(
    ("item", "effects"),
    [
        (_item(status="failed", error="lease ran out after 2 s"), 0),
        (_item("KILL-0", "completed"), 1),
        (_item("KILL-0", "failed", "ValueError: other"), 0),
    ],
)
def test_an_item_with_the_wrong_end_is_a_violation(item: LedgerItem, effects: int) -> None:
    verdict = _judged(_judge(item, effects=effects))
    assert len(verdict.violations) == 1
    assert verdict.figures["items judged wrongly"] == 1


def test_items_that_were_not_enqueued_and_runs_that_do_not_end_are_violations() -> None:
    judge = _judge()
    judge._evidence.items[RUN, 1] = _item("FAST-1")._replace(key=(RUN, 1))  # type: ignore[index]
    judge._evidence.effects[RUN, 1] = [(1, 1, 5.0)]  # type: ignore[index]
    assert len(_judged(judge).violations) == 1
    assert _judged(_judge(open_runs=[RUN])).violations == [f"runs still open: [{RUN}]"]


def test_a_poisonous_item_may_be_executed_once_in_a_batch_and_as_often_as_faults_end_it() -> None:
    dead = _item("KILL-0", "failed", "killed by signal 9")
    executions = [_execution(pid, pid, None) for pid in range(1, 6)]
    assert len(_judged(_judge(dead, effects=0, executions=executions)).violations) == 1
    kill = _incident("kill_worker", 3.5, 3.5, 3)
    assert _judged(_judge(dead, effects=0, executions=executions, incidents=[kill])).is_clean


def test_an_item_taken_from_a_healthy_holder_is_a_violation_and_one_from_a_stopped_holder_is_not() -> None:
    executions = [_execution(1, 1.0, 8.0), _execution(2, 4.0, 5.0)]
    verdict = _judged(_judge(executions=executions))
    assert verdict.figures["… unexplained"] == 1
    assert not verdict.is_clean
    for incidents, cause in (
        ([_incident("stop_tree", 1.5, 7.0, 1)], "… holder stopped"),
        ([_incident("redis_reject", 1.5, 3.9)], "… Redis away or emptied"),
    ):
        verdict = _judged(_judge(executions=executions, incidents=incidents))
        assert verdict.figures[cause] == 1
        assert verdict.is_clean
    assert _judged(_judge(executions=executions, added_again={RUN: [3.0]})).is_clean
    assert not _judged(_judge(executions=executions, added_again={RUN: [4.5]})).is_clean


def test_times_are_measured_from_the_death_to_the_next_start_and_from_the_fault_to_the_next_completion() -> None:
    executions = [_execution(1, 1.0, None), _execution(2, 4.5, 4.9)]
    death = _incident("kill_supervisor", 2.0, 2.0, 1)
    verdict = _judged(_judge(executions=executions, incidents=[death], reclaimed=[1.5, 3.5]))
    assert str(verdict.figures["executed again after a supervisor's death"]).startswith("p50 2.50 s")
    assert str(verdict.figures["reclaimed after a supervisor's death"]).startswith("p50 1.50 s")
    assert verdict.faults == {"kill_supervisor": [3.0]}
    death = _incident("kill_worker", 2.0, 2.0, 1)
    verdict = _judged(_judge(executions=executions, incidents=[death], requeued={1: 2.25}))
    assert str(verdict.figures["requeued after a worker's death"]).startswith("p50 0.25 s")


def test_an_event_that_the_listener_missed_is_lost_unless_it_had_no_connection() -> None:
    for disconnected, is_clean in ((), False), ([(90.0, 99.0)], True):
        judge = _judge(events={"a": 100.0})
        judge.judge_events(_listener(disconnected=list(disconnected)))
        assert judge.verdict.is_clean == is_clean
    for evidence, received in ({"events": {}}, ["unknown"]), ({"events_waiting": 1}, []):
        judge = _judge(**evidence)
        judge.judge_events(_listener(received))
        assert not judge.verdict.is_clean


def test_a_supervisor_that_ends_badly_or_late_and_anything_left_behind_are_violations() -> None:
    for record in (
        {"goodbyes": [Goodbye(1, 1.0, 5.0)]},
        {"goodbyes": [Goodbye(0, patient(11.0), patient(50.0))]},
        {"unexpected": ["supervisor 0 ended by itself"]},
    ):
        judge = _judge(record=record)
        judge.judge_ends(Leaks(), {}, [])
        assert len(judge.verdict.violations) == 1
    for leaks, files in (Leaks(connections=1), [20]), (Leaks(), [20, 60]):
        judge = _judge()
        judge.judge_ends(leaks, {1: files}, [1])
        assert len(judge.verdict.violations) == 1


def test_the_table_of_the_report_gets_a_column_for_each_seed_and_keeps_the_others() -> None:
    table = with_column("", "seed 2", {"items": "5", "lost": "0"})
    assert table == "|  | seed 2 |\n| --- | --- |\n| items | 5 |\n| lost | 0 |\n"
    table = with_column(table, "seed 1", {"items": "4", "doubled": "0"})
    assert (
        table == "|  | seed 1 | seed 2 |\n| --- | --- | --- |\n| items | 4 | 5 |\n| doubled | 0 |  |\n| lost |  | 0 |\n"
    )
    assert "| items | 9 | 5 |\n" in with_column(table, "seed 1", {"items": "9"})
