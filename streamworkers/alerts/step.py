"""The state machine of one alert and symbol: a pure function from a state and one closed bar to the next state.

There is no clock, no data and no randomness in it, so that a replay decides what the live evaluation decided. Within a
bar the order is: release, then firing; at most one firing for each bar.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from streamworkers.alerts.rearm import Rearm
from streamworkers.rules.truth import FALSE, TRUE, UNKNOWN


class AlertStatus(StrEnum):
    """Where an alert stands: ready, counting bars, fired and not released yet, or never to fire again."""

    ARMED = "armed"
    PENDING = "pending"
    FIRED = "fired"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class AlertState:
    """What is kept of one alert and symbol between two bars, beside its sides.

    `streak` counts true bars in a row, `release_streak` bars in a row at which the release held. `fired_at` is the
    close of the bar of the last firing; while it is None, FIRED means that the alert waits for the rule to be false.
    `cooldown_bars` are those that are left. Suppressed firings are not part of `fire_count`.
    """

    status: AlertStatus = AlertStatus.ARMED
    streak: int = 0
    release_streak: int = 0
    fired_at: datetime | None = None
    fire_count: int = 0
    cooldown_until: datetime | None = None
    cooldown_bars: int = 0


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """What ends an alert: a moment, or a number of firings. Changing them leaves the state as it is."""

    expires_at: datetime | None = None
    max_fires: int | None = None


@dataclass(frozen=True, slots=True)
class ClosedBar:
    """One closed bar as the state machine sees it: the rule, its release, and whether the alert is muted or snoozed."""

    close: datetime
    value: int
    release: int
    muted: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """The next state, and what happened at the bar; `unknown` says that the rule was."""

    state: AlertState
    fired: bool = False
    suppressed: bool = False
    released: bool = False
    unknown: bool = False


def initial_state(rearm: Rearm) -> AlertState:
    """The state before the first bar."""
    return AlertState(AlertStatus.FIRED if rearm.initial == "wait" else AlertStatus.ARMED)


def step(state: AlertState, rearm: Rearm, limits: AlertLimits, bar: ClosedBar) -> Step:
    """Decide one bar. The same arguments give the same result, always."""
    if state.status is AlertStatus.DONE:
        if _is_exhausted(state, rearm, limits):
            return Step(state)
        state = replace(state, status=AlertStatus.FIRED)  # a limit was raised: it goes on where it stopped
    if state.cooldown_bars:
        state = replace(state, cooldown_bars=state.cooldown_bars - 1)
    state, released = _release(state, rearm, bar)
    state = _count(state, rearm, bar.value)
    if not _may_fire(state, rearm, limits, bar):
        return Step(state, released=released, unknown=bar.value == UNKNOWN)
    return Step(_fire(state, rearm, limits, bar), fired=True, suppressed=bar.muted, released=released)


def _release(state: AlertState, rearm: Rearm, bar: ClosedBar) -> tuple[AlertState, bool]:
    if state.status is not AlertStatus.FIRED:
        return state, False
    # `once` gets here by a suppressed firing, which does not count for it: like an edge, it waits for the rule to be
    # false. So does an alert that has not fired yet.
    waits = state.fired_at is None or rearm.type == "once"
    verdict, needed = (-bar.value, 1) if waits else (bar.release, rearm.release_bars)
    if verdict == UNKNOWN:
        return (replace(state, release_streak=0) if rearm.gaps == "reset" else state), False
    streak = state.release_streak + 1 if verdict == TRUE else 0
    if streak < needed:
        return replace(state, release_streak=streak), False
    return replace(state, status=AlertStatus.ARMED, release_streak=0), state.fired_at is not None


def _count(state: AlertState, rearm: Rearm, value: int) -> AlertState:
    """The streak of true bars, and with it whether an alert that is not fired is armed or pending."""
    if state.status is AlertStatus.FIRED:
        return state
    streak = state.streak
    if value == TRUE:
        streak = min(streak + 1, rearm.persistence_bars)
    elif value == FALSE or rearm.gaps == "reset":
        streak = 0
    is_pending = rearm.persistence_bars > 1 and streak > 0
    status = AlertStatus.PENDING if is_pending else AlertStatus.ARMED
    if (streak, status) == (state.streak, state.status):
        return state
    return replace(state, streak=streak, status=status)


def _may_fire(state: AlertState, rearm: Rearm, limits: AlertLimits, bar: ClosedBar) -> bool:
    return (
        state.status is not AlertStatus.FIRED
        and bar.value == TRUE
        and state.streak >= rearm.persistence_bars
        and state.cooldown_bars == 0
        and (state.cooldown_until is None or bar.close >= state.cooldown_until)
        and (limits.expires_at is None or bar.close <= limits.expires_at)
    )


def _fire(state: AlertState, rearm: Rearm, limits: AlertLimits, bar: ClosedBar) -> AlertState:
    fired = replace(
        state,
        status=AlertStatus.FIRED,
        # With `cooldown` only the gate counts: a rule that has been true all the time fires when it opens.
        streak=state.streak if rearm.type == "cooldown" else 0,
        release_streak=0,
        fired_at=bar.close,
        fire_count=state.fire_count + (not bar.muted),
        cooldown_until=bar.close + timedelta(seconds=rearm.cooldown_seconds) if rearm.cooldown_seconds else None,
        cooldown_bars=rearm.cooldown_bars,
    )
    return replace(fired, status=AlertStatus.DONE) if _is_exhausted(fired, rearm, limits) else fired


def _is_exhausted(state: AlertState, rearm: Rearm, limits: AlertLimits) -> bool:
    most = 1 if rearm.type == "once" else limits.max_fires
    return most is not None and state.fire_count >= most
