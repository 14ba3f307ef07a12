"""What happens to the ticks of a schedule that are due and not decided, for the answer to a change."""

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

from streamworkers.database import Connection
from streamworkers.schedules import store, timings
from streamworkers.schedules.cursor import TimingSpan
from streamworkers.schedules.due_ticks import plan_due
from streamworkers.schedules.maintenance import windows_of
from streamworkers.schedules.maintenance_store import read_maintenance_windows
from streamworkers.schedules.next_tick import require_timing
from streamworkers.schedules.planner import TickPlan, plan_skipped
from streamworkers.schedules.store import Schedule

_MOST_STEPS = 200
_WINDOWS_COUNT = timedelta(days=366)
DueTicks = dict[str, int]


def count_due_ticks(connection: Connection, schedule: Schedule) -> DueTicks:
    """How many due ticks of a schedule, or of one that was removed, start a run, are missed and are skipped.

    To be called in the transaction of a change. A start may still be skipped, as by `max_instances`.
    """
    now = store.database_clock(connection)
    counts: Counter[str] = Counter(start=0, missed=0, skipped=0)
    for dropped in timings.list_dropped(connection, schedule.id):
        _count_skipped(counts, dropped.span, now)
    current = store.find_numbered(connection, schedule.id)
    definition = None if current is None else current.definition
    if current is not None and definition is not None and definition.enabled and definition.cron is not None:
        spans = [*timings.lock_changed(connection, schedule.id), TimingSpan(require_timing(definition), current.cursor)]
        windows = windows_of(read_maintenance_windows(connection, now - _WINDOWS_COUNT), schedule.id)
        for _ in range(_MOST_STEPS):
            plan = plan_due(current, spans, windows, now)
            counts.update(_count(plan))
            if not plan.decisions:
                break
            spans = _advance(spans, plan)
    return dict(counts)


def describe_due_ticks(counts: DueTicks) -> str:
    """The counts as words; empty if no tick is due."""
    total = sum(counts.values())
    if total == 0:
        return ""
    verbs = {"start": "start a run", "missed": "are missed", "skipped": "are skipped"}
    return f"ticks that were due and not decided: {total}, of which " + ", ".join(
        f"{counts[state]} {verb}" for state, verb in verbs.items() if counts[state]
    )


def _count_skipped(counts: Counter[str], span: TimingSpan, now: datetime) -> None:
    for _ in range(_MOST_STEPS):
        plan = plan_skipped(span.find_undecided(now), "")
        counts.update(_count(plan))
        if plan.following is None:
            return
        span = _advance([span], plan)[0]


def _count(plan: TickPlan) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each in plan.decisions:
        counts[each.state] += each.tick_count
    return counts


def _advance(spans: list[TimingSpan], plan: TickPlan) -> list[TimingSpan]:
    """The spans as they are when a plan is carried out."""
    return [replace(span, cursor=span.cursor.past(span.timing, timings.find_last(spans, span, plan))) for span in spans]
