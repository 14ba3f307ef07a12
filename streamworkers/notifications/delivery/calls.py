"""Deliveries as calls to the outside: the claim in the row, the provider's call, and the record of its answer."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol
from uuid import UUID

from psycopg import Error

from streamworkers.database import Connection
from streamworkers.engine.outside import Answer, Claim, Late, Outside, Policy, Reply
from streamworkers.engine.redis.slot_book import SlotBook, SlotRequest
from streamworkers.errors import RedisUnavailableError
from streamworkers.logger import get_logger
from streamworkers.notifications.channels.channel import Address, Limit, MessageChannel, NotSentError
from streamworkers.notifications.channels.text import clean_reason
from streamworkers.notifications.content import Picture
from streamworkers.notifications.delivery.call_counts import CallCounts, Counts
from streamworkers.notifications.delivery.decide_reply import (
    MOST_HOLD_SECONDS,
    CallStanding,
    ReplyDecision,
    decide_reply,
)
from streamworkers.notifications.delivery.late_answers import LateAnswers
from streamworkers.notifications.delivery.slow_providers import SLOW_SECONDS, SlowProviders
from streamworkers.notifications.notify import notify
from streamworkers.notifications.store.closing import CALL_LIFE
from streamworkers.notifications.store.sending import (
    DeliveryRow,
    FoundDelivery,
    await_answer,
    claim_delivery,
    follow_endpoint,
    record_reply,
    turn_off_endpoint,
)
from streamworkers.users import RUN_WEBHOOKS

log = get_logger()
_USER_WINDOW_SECONDS = 60.0


class Limited(Protocol):
    """As much of a delivery as its limits need."""

    @property
    def user_id(self) -> str: ...
    @property
    def priority(self) -> str: ...
    @property
    def target(self) -> Address: ...


def limits_of(row: Limited, channel: MessageChannel, per_minute: int) -> Sequence[Limit]:
    """Return the limits of a delivery: those of its provider, and that of its user, which what is urgent passes.

    Webhooks of runs are for programs, and have no user.
    """
    is_free = row.priority == "urgent" or row.user_id == RUN_WEBHOOKS
    own = [] if is_free else [Limit(f"user:{row.user_id}", per_minute, _USER_WINDOW_SECONDS)]
    return [*channel.limits(row.target), *own]


@dataclass
class DeliveryCalls(Outside[UUID, str | None]):
    """The calls of one batch. `ended` hears of each delivery whose call is over, and whether a part is left."""

    channels: Mapping[str, MessageChannel]
    book: SlotBook
    rows: Mapping[UUID, DeliveryRow]
    requests: Mapping[UUID, SlotRequest]
    ended: Callable[[UUID, bool], None]
    counts: Counts
    slow: SlowProviders
    late: LateAnswers
    run_id: int | None
    _began_at: float = field(default_factory=time.monotonic)
    _found: dict[UUID, FoundDelivery] = field(default_factory=dict)
    _sent: Counter[UUID] = field(default_factory=Counter)
    _called: set[UUID] = field(default_factory=set)

    leaves_after = SLOW_SECONDS

    def policy_of(self, thing: UUID) -> Policy:
        """Return what the channel of a delivery says about calls of which nobody knows."""
        return self.channels[self.rows[thing].channel].policy

    def claim(self, connection: Connection, thing: UUID, token: UUID) -> Claim:
        """Claim it, unless it may not go out any more: that is looked at last."""
        found = claim_delivery(connection, thing, self.run_id, token)
        self._found[thing] = found
        self._called.discard(thing)
        if found.is_taken:
            self._count("deliveries_ambiguous", thing)
        if found.claim is Claim.CLOSED:
            if found.is_taken:
                log.warning("call_ambiguous", thing=str(thing), answer="unknown", reason=f"not sent: {found.obstacle}")
            if found.obstacle is not None:
                self._count("deliveries", thing, "suppressed")
            self._release(thing)
            self.ended(thing, False)
        return found.claim

    def call(self, thing: UUID, token: UUID) -> str | None:
        """Send the next part of a delivery, and report the end of the call to the book."""
        del token
        self._called.add(thing)
        row, address = self.rows[thing], self._found[thing].address
        assert row.parts is not None
        assert address is not None
        number = row.parts_sent + self._sent[thing]
        began, has_answered = time.monotonic(), False
        picture = None if row.picture is None or number else Picture(row.picture, "chart")
        try:
            identifier = self.channels[row.channel].send(row.parts[number], address, delivery=thing, picture=picture)
            has_answered = True
            return identifier
        except NotSentError as error:
            if error.retry_after is not None and error.bucket is not None:
                self._hold(error.bucket, error.retry_after)
            raise
        finally:
            with suppress(RedisUnavailableError):
                self.book.move(self.requests[thing])
            for bucket, _, _ in self.channels[row.channel].limits(address)[:1]:
                self.slow.ended(bucket, time.monotonic() - began, has_answered=has_answered)

    def leave(self, connection: Connection, thing: UUID, token: UUID) -> Late[UUID, str | None] | None:
        """Go on without the answer. The delivery stays claimed, and others leave it alone while it may be under way."""
        bucket = self.bucket_of(thing)
        if bucket is None or not self.late.add(bucket):
            return None
        try:
            await_answer(connection, thing, token, CALL_LIFE)
        except Error:
            self.late.remove(bucket)
            raise
        self.ended(thing, False)
        counts = CallCounts()
        late = replace(self, counts=counts, ended=lambda _thing, _has_more: None)
        return Late(late, partial(self.late.recording, bucket, counts))

    def is_left_alone(self, thing: UUID) -> bool:
        """Return whether this process has a call to the same provider that was left."""
        bucket = self.bucket_of(thing)
        return bucket is not None and self.late.is_hanging(bucket)

    def bucket_of(self, thing: UUID) -> str | None:
        """Return the first limit of a delivery's channel, which stands for its provider."""
        row = self.rows[thing]
        return next((bucket for bucket, _, _ in self.channels[row.channel].limits(row.target)), None)

    def record(self, connection: Connection, thing: UUID, token: UUID, reply: Reply[str | None]) -> bool:
        """Record what the answer makes of it, and of its endpoint."""
        row = self.rows[thing]
        channel, attempts = self.channels[row.channel], self._found[thing].attempts
        parts_left = len(row.parts or ()) - row.parts_sent - self._sent[thing]
        decision = decide_reply(
            reply, CallStanding(attempts, parts_left, row.age_seconds, channel.policy, channel.retry_seconds)
        )
        unknown = reply.answer is Answer.UNKNOWN and thing in self._called
        if decision.reason is not None:
            decision = replace(decision, reason=clean_reason(decision.reason))
        provider_id = None if reply.value is None else clean_reason(reply.value)
        recorded = record_reply(connection, thing, token, decision, provider_id, int(unknown))
        if recorded:
            if unknown:
                self._count("deliveries_ambiguous", thing)
            self._apply(connection, thing, decision)
        at_once = recorded and decision.state == "queued"
        if thing not in self._called:
            self._release(thing)
        self.ended(thing, at_once)
        return recorded

    def _apply(self, connection: Connection, thing: UUID, decision: ReplyDecision) -> None:
        row = self.rows[thing]
        if decision.is_part_sent:
            self._sent[thing] += 1
        if decision.state != "queued":
            self._count("deliveries", thing, decision.state)
        if decision.state == "sent":
            seconds = max(0.0, row.late_seconds + time.monotonic() - self._began_at)
            self.counts.observations.append((("delivery_lateness_seconds", row.channel, row.priority), seconds))
        if decision.moved_to is not None and row.endpoint_id is not None:
            follow_endpoint(connection, thing, row.endpoint_id, decision.moved_to)
        if decision.endpoint_off:
            self._turn_off(connection, row, decision.reason or "")

    def _turn_off(self, connection: Connection, row: DeliveryRow, reason: str) -> None:
        """Switch an endpoint off, and notify its user once, on whatever channel is left."""
        ended = turn_off_endpoint(connection, row.id, reason)
        if ended is None:
            return
        text = f"Nothing is sent to {ended.name} ({ended.channel}) any more: {reason}"
        key = f"endpoint_off:{ended.id}:{datetime.now(UTC).date()}"
        data = {"endpoint": ended.name, "channel": ended.channel}
        # The receivers of runs' webhooks are those of many: what happens to one is no business of the others.
        if ended.user_id != RUN_WEBHOOKS:
            notify(connection, ended.user_id, text, dedup_key=key, type="endpoint_off", priority="high", data=data)

    def _release(self, thing: UUID) -> None:
        with suppress(RedisUnavailableError):
            self.book.release(self.requests[thing])

    def _hold(self, bucket: str, seconds: float) -> None:
        with suppress(RedisUnavailableError):
            self.book.hold(bucket, min(seconds, MOST_HOLD_SECONDS))

    def _count(self, counter: str, thing: UUID, *labels: str) -> None:
        self.counts.tallies[counter, self.rows[thing].channel, *labels] += 1
