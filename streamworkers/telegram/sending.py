"""Sends the bot's answers as soon as they are written: claimed, called and recorded one by one, within the limits."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import structlog
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine.outside import Answer, Claim, Outside, Reply, call_outside
from streamworkers.engine.redis.slot_book import SlotBook, SlotRequest
from streamworkers.notifications.channels.channel import MessageChannel, NotSentError
from streamworkers.notifications.content import Part
from streamworkers.notifications.store.answers import (
    WaitingAnswer,
    claim_answer,
    list_due_answers,
    read_answers,
    record_not_sent,
    record_sent,
    reopen_answers,
)
from streamworkers.notifications.store.endpoints import close_endpoint, move_endpoint

log = structlog.get_logger()
MOST_WAIT_SECONDS = 2.0  # what has no slot by then waits for another turn
_RETRY_SECONDS = 5.0
_MOST_LEFT = 20
_DIED = "claimed by a process that did not record an answer"


class AnswerSender:
    """Sends answers, and none is lost: those that a dead or hasty process has left are sent by the next one."""

    def __init__(self, pool: "ConnectionPool[Connection]", channel: MessageChannel, book: SlotBook) -> None:
        self._pool, self._channel, self._book = pool, channel, book

    def send(self, ids: Sequence[uuid.UUID]) -> None:
        """Send those of the answers that still wait, in their order."""
        with self._pool.connection() as connection:
            waiting = read_answers(connection, ids)
            if waiting:
                call_outside(connection, _Sending(self._channel, self._book), self._in_turn(waiting), policy="retry")

    def send_left(self) -> None:
        """Send answers that another process has left; what it was sending is named as ambiguous first."""
        with self._pool.connection() as connection:
            for answer in reopen_answers(connection):
                log.warning("call_ambiguous", thing=str(answer), answer=str(Answer.UNKNOWN), reason=_DIED)
            due = list_due_answers(connection, _MOST_LEFT)
        if due:
            self.send(due)

    def _in_turn(self, waiting: Sequence[WaitingAnswer]) -> Iterator[WaitingAnswer]:
        """Each answer when its slot has come."""
        for answer in waiting:
            request = SlotRequest(str(answer.id), self._channel.limits(answer.target))
            (slot,) = self._book.book([request], MOST_WAIT_SECONDS)
            if slot.is_booked:
                time.sleep(slot.seconds)
                yield answer


class _Sending(Outside[WaitingAnswer, str | None]):
    """The statements and the call of one answer."""

    def __init__(self, channel: MessageChannel, book: SlotBook) -> None:
        self._channel, self._book = channel, book
        self._parts: dict[uuid.UUID, list[Part]] = {}
        self._sent: dict[uuid.UUID, int] = {}

    def claim(self, connection: Connection, thing: WaitingAnswer, token: uuid.UUID) -> Claim:
        """Take it with its parts, unless somebody else has."""
        parts = self._channel.render(thing.content, thing.target, has_picture=False)
        self._parts[thing.id], self._sent[thing.id] = parts, thing.parts_sent
        return Claim.FREE if claim_answer(connection, thing.id, token, parts) else Claim.CLOSED

    def call(self, thing: WaitingAnswer, token: uuid.UUID) -> str | None:
        """Send its parts, those that were sent before left out; returns the provider's id of the first."""
        del token
        first = None
        for part in self._parts[thing.id][thing.parts_sent :]:
            number = self._channel.send(part, thing.target, delivery=thing.id, picture=None)
            first = first or number
            self._sent[thing.id] += 1
        return first

    def record(self, connection: Connection, thing: WaitingAnswer, token: uuid.UUID, reply: Reply[str | None]) -> bool:
        """Store the answer; a limit that the provider names holds for the whole fleet."""
        sent = self._sent.pop(thing.id)
        self._parts.pop(thing.id)
        if reply.answer is Answer.YES:
            return record_sent(connection, thing.id, token, (reply.value, sent))
        fields: dict[str, Any] = {"reason": reply.reason, "parts_sent": sent, "ambiguities": 0}
        error = reply.error
        if not isinstance(error, NotSentError):
            fields |= {"state": "failed", "ambiguities": int(reply.answer is Answer.UNKNOWN), "seconds": _RETRY_SECONDS}
        elif error.endpoint_off:
            close_endpoint(connection, thing.endpoint_id, reply.reason)
            fields |= {"state": "suppressed", "seconds": 0}
        elif error.moved_to is not None:
            move_endpoint(connection, thing.endpoint_id, error.moved_to)
            fields |= {"state": "failed", "seconds": 0}
        elif error.permanent:
            fields |= {"state": "dead", "seconds": 0}
        else:
            seconds = error.retry_after or _RETRY_SECONDS
            if error.bucket is not None and error.retry_after is not None:
                self._book.hold(error.bucket, error.retry_after)
            fields |= {"state": "failed", "seconds": seconds}
        return record_not_sent(connection, thing.id, token, fields)
