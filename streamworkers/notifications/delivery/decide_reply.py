"""What an answer of a provider makes of a delivery: a pure function."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from streamworkers.engine.outside import Answer, Policy, Reply
from streamworkers.notifications.channels.channel import NotSentError

RecordedState: TypeAlias = Literal["queued", "deferred", "sent", "ambiguous", "failed", "dead"]
MOST_HOLD_SECONDS = 86_400.0  # a longer wait that a provider asks for is asked for again
MOST_DEFERRED_SECONDS = 3 * 86_400.0  # a provider that says "later" for longer takes no message at all


@dataclass(frozen=True, slots=True)
class CallStanding:
    """How far a delivery is when its part was called for, and the rules of its channel."""

    attempts: int
    parts_left: int  # the one that was called for included
    age_seconds: float
    policy: Policy
    retry_seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class ReplyDecision:
    """What is recorded: the state, the seconds until it is due again, and whether this used an attempt."""

    state: RecordedState
    reason: str | None = None
    seconds: float = 0.0
    uses_attempt: bool = False
    is_part_sent: bool = False
    endpoint_off: bool = False
    moved_to: str | None = None


def decide_reply(reply: Reply[str | None], standing: CallStanding) -> ReplyDecision:
    """Return what the answer to the call for one part makes of its delivery."""
    match reply.answer:
        case Answer.YES:
            return ReplyDecision("queued" if standing.parts_left > 1 else "sent", is_part_sent=True)
        case Answer.UNKNOWN if standing.policy == "hold":
            return ReplyDecision("ambiguous", reply.reason, uses_attempt=True)
        case Answer.UNKNOWN:
            return _try_again(f"unknown whether it was sent: {reply.reason}", standing)
    error = reply.error if isinstance(reply.error, NotSentError) else NotSentError(reply.reason)
    text = str(error)
    if error.moved_to is not None:
        again = _try_again(text, standing)
        return again if again.state == "dead" else ReplyDecision("queued", text, 0.0, True, moved_to=error.moved_to)
    if error.permanent:
        return ReplyDecision("dead", text, uses_attempt=True, endpoint_off=error.endpoint_off)
    if error.retry_after is not None:
        if standing.age_seconds > MOST_DEFERRED_SECONDS:
            return ReplyDecision("dead", f"the provider has asked to wait for days: {text}")
        return ReplyDecision("deferred", text, min(max(error.retry_after, 0.0), MOST_HOLD_SECONDS))
    return _try_again(text, standing)


def _try_again(text: str, standing: CallStanding) -> ReplyDecision:
    """The next attempt by the channel's times, or none."""
    if standing.attempts >= len(standing.retry_seconds):
        return ReplyDecision("dead", text, uses_attempt=True)
    return ReplyDecision("failed", text, standing.retry_seconds[standing.attempts], uses_attempt=True)
