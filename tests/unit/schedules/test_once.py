"""Schedules that end: by a rule that ticks once, and by their end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.next_tick import plan_next
from streamworkers.schedules.timing import Tick, Timing
from streamworkers.schedules.yaml_file import from_yaml, to_yaml

NOON = datetime(2026, 12, 1, 17, tzinfo=UTC)
BEFORE, AFTER = NOON - timedelta(days=30), NOON + timedelta(days=30)


def _definition(**fields: Any) -> ScheduleDefinition:
    given = {"name": "n", "job": "noop", "target": {"symbols": ["A"]}, "cron": "0 12 * * *"}
    return ScheduleDefinition.parse(given | fields)


def _moments(timing: Timing | None, since: datetime = BEFORE) -> list[datetime]:
    assert timing is not None
    return [tick.moment for tick in timing.after(since)]


def test_a_schedule_for_a_moment_ticks_once() -> None:
    for text in ("at 2026-12-01T12:00", " at 2026-12-01 12:00", "at 2026-12-01T17:00+00:00"):
        timing = _definition(cron=text).timing
        assert _moments(timing) == [NOON]
        assert _moments(timing, NOON) == []
    assert timing is not None
    assert next(timing.after(BEFORE)) == Tick(NOON, NOON.date())
    on_sessions = _definition(cron="at 2026-12-25T12:00", calendar="XNYS").timing
    assert _moments(on_sessions) == []  # no session
    with pytest.raises(BadInputError, match="'2026-12-01' is not a date with a time"):
        Timing.parse("at 2026-12-01", "America/New_York", None)


def test_a_schedule_with_an_end_has_no_tick_from_then_on() -> None:
    day = timedelta(days=1)
    last_day = _definition(ends_at="2026-12-03").timing
    assert _moments(last_day, NOON - day) == [NOON, NOON + day, NOON + 2 * day]
    assert _moments(_definition(ends_at="2026-12-03T12:00").timing, NOON - day) == [NOON, NOON + day]
    tokyo = _definition(ends_at="2026-12-03", timezone="Asia/Tokyo").timing
    assert tokyo is not None
    assert tokyo.ends_at == datetime(2026, 12, 3, 15, tzinfo=UTC)
    at_closes = _definition(cron="session_close", calendar="XNYS", ends_at="2026-12-02").timing
    assert _moments(at_closes, NOON) == [NOON + timedelta(hours=4), NOON + timedelta(hours=28)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("soon", "schedule 'n': ends_at 'soon': 'soon' is not a date such as 2026-12-01, alone or with a time"),
        (7, "schedule 'n': ends_at '7': it is not a date such as 2026-12-01, alone or with a time"),
        ("2026-03-08T02:30", "is a time that the clocks in America/New_York skip"),
    ],
)
def test_an_end_that_is_no_time_is_rejected(value: object, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        _definition(ends_at=value)
    assert message in str(raised.value)


def test_that_a_schedule_ends_is_no_problem_and_that_its_calendar_ends_is_one() -> None:
    ended = (_definition(ends_at="2026-12-01"), _definition(cron="at 2026-12-01T12:00"))
    for definition in (*ended, _definition(cron="session_close", calendar="XNYS", ends_at="2026-12-01")):
        planned = plan_next(1, definition, None, AFTER)
        assert (planned.next_run_at, planned.problem) == (None, None)
        assert planned.due_at > AFTER
    long = _definition(cron="session_close", calendar="XNYS", ends_at="2199-01-01")
    problem = plan_next(1, long, None, AFTER).problem
    assert problem is not None
    assert problem.startswith("calendar XNYS ends")


def test_an_ended_schedule_can_be_kept_and_exported_but_is_none_to_add(registry: Registry) -> None:
    for definition in (_definition(ends_at="2020-01-01"), _definition(cron="at 2020-01-01T12:00")):
        definition.require_sound(registry)
        assert from_yaml(to_yaml([definition])) == [definition]
        with pytest.raises(BadInputError, match="has no tick from now on until its end"):
            definition.require_ticks(datetime.now(UTC))
    _definition().require_ticks(datetime.now(UTC))
    _definition(cron=None, on_event="data_load_complete").require_ticks(datetime.now(UTC))
    (plain,) = from_yaml("- {name: n, job: noop, cron: '@daily', ends_at: 2026-12-31}")
    assert plain.ends_at == datetime(2027, 1, 1, 5, tzinfo=UTC)


def test_only_a_schedule_with_ticks_has_an_end(registry: Registry) -> None:
    definition = _definition(cron=None, on_event="data_load_complete", ends_at="2030-01-01")
    with pytest.raises(BadInputError, match="only a schedule with a cron has an end"):
        definition.require_sound(registry)
