"""What people are notified of about ticks and their runs: events for the outbox, in the transaction that decides.

They go to the user of the schedule, if it names one who exists, else to the user of system notifications.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger.lateness import LateRun, mark_started_late
from streamworkers.engine.outcome import Event, make_notice
from streamworkers.engine.redis.keys import ERRORS_CHANNEL
from streamworkers.notifications.store.notifications import find_known_users
from streamworkers.schedules import store, ticks
from streamworkers.schedules.limits import MissedDeadline, OverlongRun
from streamworkers.schedules.store import Schedule
from streamworkers.schedules.timing import Tick

_MOST_REASON = 2_000


class Unstarted(NamedTuple):
    """A tick, or several up to it, for which no run was started."""

    tick: Tick
    state: str
    reason: str | None
    tick_count: int = 1


def notify_unstarted(connection: Connection, schedule: Schedule, found: Iterable[Unstarted]) -> None:
    """Notify of ticks that one step decided against: once for each state, and once for a row of such ticks.

    A tick like the one before it on the same day is no news: a schedule that ticks each minute would send each minute.
    """
    by_state: dict[str, list[Unstarted]] = {}
    for each in found:
        by_state.setdefault(each.state, []).append(each)
    events = [
        _unstarted_event(_choose_user(connection, schedule), schedule, state, several)
        for state, several in by_state.items()
        if not ticks.follows_alike(connection, schedule, several[0].tick, state)
    ]
    if events:
        ledger.add_events(connection, events)


def notify_problem(connection: Connection, schedule: Schedule, problem: str) -> None:
    """Notify that the ticks of a schedule cannot be found, unless that was so before."""
    if problem == schedule.problem:
        return
    due = schedule.next_run_at or schedule.cursor.valid_from
    data = {"schedule": schedule.name, "state": "broken", "due_at": due.isoformat(), "reason": problem[:_MOST_REASON]}
    key = f"schedule_missed:{schedule.name}:{due.isoformat()}:broken"
    ledger.add_events(connection, [_notice(_choose_user(connection, schedule), "schedule_missed", key, data)])


def notify_started_late(connection: Connection, schedule: Schedule, run_id: int, tick: Tick, seconds: float) -> None:
    """Notify that a tick was caught up so late that it was not on time."""
    mark_started_late(connection, run_id)
    reason = f"It was started {_words(seconds)} after that"
    event = _late_event(_choose_user(connection, schedule), run_id, schedule.name, tick.moment, reason)
    ledger.add_events(connection, [event])


def make_rejection_event(schedule: Schedule, tick: Tick, rejection: str) -> Event:
    """The event, for programs, that no run could be made for a tick."""
    return Event(
        ERRORS_CHANNEL,
        {
            "schema_version": 1,
            "kind": "tick_rejected",
            "schedule": schedule.name,
            "scheduled_for": tick.moment.isoformat(),
            "reason": rejection,
        },
    )


def make_late_notices(connection: Connection, runs: Iterable[LateRun], seconds: float) -> list[Event]:
    """The events about runs that have not ended so many seconds after their ticks."""
    owners = store.read_owners(connection, [run.schedule_id for run in runs])
    users = _Users(connection, owners.values())
    return [
        _late_event(
            users.choose(owners.get(run.schedule_id)),
            run.id,
            run.schedule,
            run.scheduled_for,
            f"{_words(seconds)} after that "
            + ("no worker has begun it" if run.status == "PENDING" else f"it has not ended ({run.item_count} items)"),
        )
        for run in runs
    ]


def make_overlong_notice(connection: Connection, run: OverlongRun) -> Event:
    """The event about a run that was cancelled because it took longer than its schedule allows."""
    owner = store.read_owners(connection, [run.schedule_id]).get(run.schedule_id)
    reason = f"It was cancelled {_words(run.seconds)} after its start: max_run_seconds is {run.most_seconds}"
    data = {"run_id": run.id, "schedule": run.schedule, "reason": reason}
    return _notice(_Users(connection, [owner]).choose(owner), "run_too_long", f"run_too_long:{run.id}", data)


def make_deadline_notices(connection: Connection, missed: Sequence[MissedDeadline]) -> list[Event]:
    """The events about ticks whose work was not done by their deadlines."""
    owners = store.read_owners(connection, [each.schedule_id for each in missed])
    users = _Users(connection, owners.values())
    return [_deadline_event(users.choose(owners.get(each.schedule_id)), each) for each in missed]


def _deadline_event(user: str, missed: MissedDeadline) -> Event:
    due, done_by = missed.scheduled_for.isoformat(), missed.done_by_at.isoformat()
    data: dict[str, Any] = {
        "schedule": missed.schedule,
        "due_at": due,
        "done_by": done_by,
        "reason": missed.describe()[:_MOST_REASON],
    }
    if missed.run_id is not None:
        data["run_id"] = missed.run_id
    return _notice(user, "deadline_missed", f"deadline_missed:{missed.schedule}:{due}", data)


class _Users:
    """The users of some schedules, without those who do not exist: a notification of these would be rejected."""

    def __init__(self, connection: Connection, owners: Iterable[str | None]) -> None:
        self._known = find_known_users(connection, sorted({owner for owner in owners if owner}))
        self._system = load_settings().system_user

    def choose(self, owner: str | None) -> str:
        """The user who is notified about what belongs to this one."""
        return owner if owner is not None and owner in self._known else self._system


def _choose_user(connection: Connection, schedule: Schedule) -> str:
    owner = None if schedule.definition is None else schedule.definition.user_id
    return _Users(connection, [owner]).choose(owner)


def _unstarted_event(user: str, schedule: Schedule, state: str, several: list[Unstarted]) -> Event:
    first, last, count = several[0], several[-1], sum(each.tick_count for each in several)
    data = {"schedule": schedule.name, "state": state, "due_at": first.tick.moment.isoformat(), "ticks": count}
    if count > 1:
        data["last_due_at"] = last.tick.moment.isoformat()
    if last.reason:
        data["reason"] = last.reason[:_MOST_REASON]
    key = f"schedule_missed:{schedule.name}:{last.tick.moment.isoformat()}"
    return _notice(user, "schedule_missed", key, data)


def _late_event(user: str, run_id: int, schedule: str, due_at: datetime, reason: str) -> Event:
    data = {"run_id": run_id, "schedule": schedule, "due_at": due_at.isoformat(), "reason": reason}
    return _notice(user, "run_late", f"run_late:{run_id}", data)


def _notice(user: str, kind: str, key: str, data: Mapping[str, Any]) -> Event:
    # After an outage many schedules have something to report at once: one message.
    return make_notice(user, kind, key, data, priority="high", group=kind)


def _words(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"
