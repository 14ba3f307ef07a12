"""What an answer of a provider makes of a delivery: each kind of answer, and the bounds of attempts and of waiting."""

from dataclasses import replace

import pytest

from streamworkers.engine.outside import Answer, NotDoneError, Reply
from streamworkers.notifications.channels.channel import NotSentError
from streamworkers.notifications.delivery.decide_reply import (
    MOST_DEFERRED_SECONDS,
    MOST_HOLD_SECONDS,
    CallStanding,
    ReplyDecision,
    decide_reply,
)

STANDING = CallStanding(attempts=0, parts_left=1, age_seconds=1.0, policy="retry", retry_seconds=(60.0, 300.0))


def _no(error: NotDoneError) -> Reply[str | None]:
    return Reply(Answer.NO, None, str(error), error=error)


@pytest.mark.parametrize(
    ("reply", "decision"),
    [
        (Reply[str | None](Answer.YES, "1"), ReplyDecision("sent", is_part_sent=True)),
        (_no(NotSentError("x", permanent=True)), ReplyDecision("dead", "x", uses_attempt=True)),
        (_no(NotSentError("x", endpoint_off=True)), ReplyDecision("dead", "x", uses_attempt=True, endpoint_off=True)),
        (_no(NotSentError("x", moved_to="y")), ReplyDecision("queued", "x", uses_attempt=True, moved_to="y")),
        (_no(NotSentError("x", retry_after=10_072)), ReplyDecision("deferred", "x", 10_072)),
        (_no(NotSentError("x", retry_after=1e9)), ReplyDecision("deferred", "x", MOST_HOLD_SECONDS)),
        (_no(NotSentError("x")), ReplyDecision("failed", "x", 60.0, uses_attempt=True)),
        (_no(NotDoneError("x")), ReplyDecision("failed", "x", 60.0, uses_attempt=True)),
        (
            Reply[str | None](Answer.UNKNOWN, None, "x", True),
            ReplyDecision("failed", "unknown whether it was sent: x", 60.0, uses_attempt=True),
        ),
    ],
)
def test_each_answer_has_its_decision(reply: Reply[str | None], decision: ReplyDecision) -> None:
    assert decide_reply(reply, STANDING) == decision


def test_a_part_before_the_last_leaves_the_delivery_queued() -> None:
    found = decide_reply(Reply(Answer.YES, "1"), replace(STANDING, parts_left=2))
    assert found == ReplyDecision("queued", is_part_sent=True)


def test_what_is_unknown_is_held_where_the_policy_says_so() -> None:
    found = decide_reply(Reply(Answer.UNKNOWN, None, "x", True), replace(STANDING, policy="hold"))
    assert found == ReplyDecision("ambiguous", "x", uses_attempt=True)


@pytest.mark.parametrize("error", [NotSentError("x"), NotSentError("x", moved_to="y")])
def test_attempts_end_with_the_times_of_the_channel(error: NotSentError) -> None:
    states = [decide_reply(_no(error), replace(STANDING, attempts=number)).state for number in range(3)]
    assert states[-1] == "dead"
    assert "dead" not in states[:-1]
    assert decide_reply(_no(NotSentError("x")), replace(STANDING, attempts=1)).seconds == 300.0


def test_a_provider_that_always_asks_to_wait_ends_after_days() -> None:
    old = replace(STANDING, age_seconds=MOST_DEFERRED_SECONDS + 1)
    found = decide_reply(_no(NotSentError("x", retry_after=5)), old)
    assert found == ReplyDecision("dead", "the provider has asked to wait for days: x")
