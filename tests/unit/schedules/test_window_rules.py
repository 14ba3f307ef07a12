"""Maintenance windows, without any database: which ticks they skip, and since when others can start."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from typing import Any

import pytest

from streamworkers.schedules import maintenance
from streamworkers.schedules.maintenance import (
    MaintenanceWindow,
    WindowSieve,
    find_open,
    find_release,
    find_wait_start,
    windows_of,
)
from streamworkers.schedules.planner import Decision, Policy, TickPlan, plan_ticks
from streamworkers.schedules.timing import Tick

START = datetime(2026, 12, 1, tzinfo=UTC)
LATEST = Policy("latest", 86_400, True)


def _at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def _window(first: float, last: float, number: int = 1, **fields: Any) -> MaintenanceWindow:
    given = {"schedule_ids": None, "mode": "skip", "timezone": "UTC", "note": ""} | fields
    return MaintenanceWindow(number, _at(first), _at(last), **given)


def _ticks(first: int = 1) -> Iterator[Tick]:
    return (Tick(_at(minute), START.date()) for minute in count(first))


def _plan(windows: list[MaintenanceWindow], now: datetime, first: int = 1) -> TickPlan:
    sieve = WindowSieve(windows)
    ticks = sieve.leave_out(_ticks(first), lambda moment: moment, now)
    return sieve.complete(plan_ticks(ticks, lambda moment: moment, now, LATEST))


def _show(plan: TickPlan) -> list[tuple[int, str]]:
    return [(round((each.tick.moment - START).total_seconds() / 60), each.state) for each in plan.decisions]


def test_ticks_in_a_window_are_skipped_and_do_not_stand_for_those_before_it() -> None:
    """All were due while no scheduler ran: the newest outside of the window starts, not the newest of all."""
    plan = _plan([_window(4, 7)], _at(6.5))
    assert _show(plan) == [(1, "skipped"), (2, "skipped"), (3, "start"), (4, "skipped"), (5, "skipped"), (6, "skipped")]
    assert plan.following == Tick(_at(7), START.date())
    reasons = [each.reason for each in plan.decisions]
    assert reasons[-1] == "maintenance window 1 from 2026-12-01 00:04 UTC until 2026-12-01 00:07 UTC"
    assert _show(_plan([], _at(6.5)))[-1] == (6, "start")


def test_a_tick_in_a_window_that_is_not_due_follows() -> None:
    plan = _plan([_window(4, 70)], _at(3.5))
    assert plan.following == Tick(_at(4), START.date())
    assert _plan([_window(4, 70, mode="wait")], _at(5.5)).decisions[-1].state == "start"


def test_many_ticks_in_a_window_are_one_decision_that_says_how_many() -> None:
    plan = _plan([_window(10, 210), _window(300, 500, 2)], _at(600.5))
    many = [(each.tick.moment, each.tick_count) for each in plan.decisions if each.tick_count > 1]
    assert many == [(_at(209), 200), (_at(499), 200)]
    assert sum(each.tick_count for each in plan.decisions) == 600
    moments = [each.tick.moment for each in plan.decisions]
    assert moments == sorted(moments)
    (first, _) = (each for each in plan.decisions if each.tick_count > 1)
    assert first.reason is not None
    assert first.reason.startswith("200 ticks from 2026-12-01 00:10:00 UTC on: maintenance window 1 from")


def test_a_backlog_beyond_a_step_is_decided_in_steps_each_tick_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MOST_IN_A_STEP", 150)
    now, first, decided = _at(4000.5), 1, 0
    # The last one is among the ticks that a step reads ahead and leaves to the next one.
    windows = [_window(50, 450), _window(2000, 2300, 2), _window(1480, 1500, 3)]
    decisions: list[Decision] = []
    while first <= 4000:
        plan = _plan(windows, now, first)
        assert plan.following is not None
        following = round((plan.following.moment - START).total_seconds() / 60)
        assert sum(each.tick_count for each in plan.decisions) == following - first
        decided += following - first
        first, decisions = following, decisions + plan.decisions
    assert decided == 4000
    skipped = sum(each.tick_count for each in decisions if "maintenance window" in (each.reason or ""))
    assert skipped == 720


def test_windows_are_those_of_the_schedule_and_the_open_one_ends_last() -> None:
    every = [_window(0, 9), _window(5, 20, 2, schedule_ids=frozenset({7})), _window(5, 8, 3, schedule_ids=frozenset())]
    assert [window.id for window in windows_of(every, 7)] == [1, 2]
    assert [window.id for window in windows_of(every, 8)] == [1]
    found = [find_open(every, _at(minute)) for minute in (-1, 0, 6, 9, 20)]
    assert [window and window.id for window in found] == [None, 1, 2, 2, None]
    note = _window(0, 9, note="a new disk").describe()
    assert note.endswith("until 2026-12-01 00:09 UTC: a new disk")


def test_a_tick_that_waited_is_due_when_the_last_window_has_ended() -> None:
    windows = [_window(5, 10, mode="wait"), _window(8, 12, 2, mode="wait"), _window(30, 40, 3)]
    assert find_release(windows, _at(9), _at(11)) == _at(10)
    assert find_release(windows, _at(9), _at(12)) == _at(12)
    assert find_release(windows, _at(7), _at(9)) is None
    assert find_release(windows, _at(35), _at(41)) is None
    assert find_wait_start(windows, _at(9), _at(11)) == _at(10)
    assert find_wait_start(windows, _at(9), _at(41)) == _at(40)
    assert find_wait_start(windows, _at(12), _at(29)) == _at(12)
    assert list(islice(_ticks(), 1)) == [Tick(_at(1), START.date())]
