"""The undecided ticks of a schedule that are due, and what is to be decided about them. No I/O."""

from collections.abc import Sequence
from datetime import datetime
from itertools import chain

from streamworkers.schedules.cursor import TimingSpan, find_span
from streamworkers.schedules.maintenance import MaintenanceWindow, WindowSieve, find_release
from streamworkers.schedules.planner import TickPlan, limit_starts, plan_ticks
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import jittered


def plan_due(
    schedule: Schedule, spans: Sequence[TimingSpan], windows: Sequence[MaintenanceWindow], now: datetime
) -> TickPlan:
    """Decide about the due ticks of consecutive spans, of which the last is valid; the policy is that of now.

    The maintenance windows are those of the schedule: what they skip is no part of a backlog.
    """

    def due_at(moment: datetime) -> datetime:
        due = find_due_time(schedule, find_span(spans, moment), moment)
        released = find_release(windows, moment, now)
        return due if released is None else max(due, released)

    def group(moment: datetime) -> int | None:
        return find_span(spans, moment).timing_id

    sieve = WindowSieve(windows, group)
    undecided = chain.from_iterable(span.find_undecided(now) for span in spans)
    policy = schedule.require_definition().policy
    plan = plan_ticks(sieve.leave_out(undecided, due_at, now), due_at, now, policy, group)
    return sieve.complete(limit_starts(plan))


def find_due_time(schedule: Schedule, span: TimingSpan, moment: datetime) -> datetime:
    """When a tick is due: its moment and its jitter, but not after the end of its span."""
    due_at = jittered(moment, schedule.id, schedule.require_definition().jitter_seconds)
    return due_at if span.valid_to is None else min(due_at, span.valid_to)
