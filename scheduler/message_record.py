"""Records a message with what came of it, in the transaction of its run, and says what was not done.

`tickstock:errors` reports that a message was rejected, or dropped because another one had the same content; people are
notified of rejected ones.
"""

from dataclasses import dataclass
from typing import Literal

from psycopg_pool import ConnectionPool

from scheduler.message_notices import Rejection, notify_rejected
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import ERRORS_CHANNEL
from streamworkers.faults import printable
from streamworkers.messages.history import (
    HistoryEntry,
    HistoryLimits,
    MessageOutcome,
    MessageSubject,
    ReceivedMessage,
    find_accepted,
    is_recorded,
    lock_content,
    record_message,
)

_MOST_BYTES = 500

Kind = Literal["started", "notified", "repeated", "duplicate", "ignored", "rejected"]


@dataclass(frozen=True, slots=True)
class MessageResult:
    """What was done with a message: `kind` and `reason` are metric labels, `detail` is for people.

    A duplicate has a row already: another replica has received it too, or its entry was read before.
    """

    kind: Kind
    reason: str
    detail: str = ""
    runs: tuple[int, ...] = ()


DUPLICATE = MessageResult("duplicate", "recorded", "it is in the history already")
DEFAULT_HISTORY = HistoryLimits()


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """How messages are recorded: what is kept of them, and for how long the same content is the same message."""

    limits: HistoryLimits = DEFAULT_HISTORY
    repeat_seconds: float = 10.0

    @classmethod
    def of(cls, settings: Settings) -> "MessageRecord":
        """Return how messages are recorded by the settings."""
        limits = HistoryLimits(settings.message_history_bytes, settings.message_history_rows)
        return cls(limits, settings.message_repeat_seconds)

    def begin(self, connection: Connection, message: ReceivedMessage, subject: MessageSubject) -> bool:
        """Lock the content to the end of the caller's transaction; False if the message has its row already."""
        lock_content(connection, subject.content_digest or message.raw_digest)
        return not is_recorded(connection, message)

    def find_repeated(
        self, connection: Connection, message: ReceivedMessage, subject: MessageSubject
    ) -> MessageOutcome | None:
        """Say what a message without an id repeats: one with the same content, accepted within the window."""
        assert subject.content_digest is not None
        found = find_accepted(connection, subject.content_digest, message.sent_at, self.repeat_seconds)
        if found is None:
            return None
        when = f"{abs(found.seconds):g} s {'earlier' if found.seconds >= 0 else 'later'}"
        detail = f"without an id it says the same as message {found.id}, which was sent {when} and accepted"
        return MessageOutcome("repeated", "content", detail, found.runs, found.notification_id)

    def end(
        self, connection: Connection, message: ReceivedMessage, subject: MessageSubject, outcome: MessageOutcome
    ) -> None:
        """Add the row of the message, with the events that tell what was not done."""
        entry = record_message(connection, message, subject, outcome, self.limits)
        if not entry.is_reported:
            return
        if outcome.state == "rejected":
            notify_rejected(connection, Rejection(message.raw, message.source, outcome.reason, outcome.detail))
        if outcome.state == "rejected" or (outcome.state, outcome.reason) == ("repeated", "content"):
            ledger.add_events(connection, [_make_event(message, outcome, entry)])

    def reject(
        self,
        pool: "ConnectionPool[Connection]",
        message: ReceivedMessage,
        subject: MessageSubject,
        reason: str,
        detail: str,
    ) -> MessageResult:
        """Record that a message is rejected, unless it has its row already."""
        with pool.connection() as connection, connection.transaction():
            if not self.begin(connection, message, subject):
                return DUPLICATE
            self.end(connection, message, subject, MessageOutcome("rejected", reason, detail))
        return MessageResult("rejected", reason, detail)


def _make_event(message: ReceivedMessage, outcome: MessageOutcome, entry: HistoryEntry) -> Event:
    others = " (more follow, which are only counted)" if entry.is_counted else ""
    payload = {
        "schema_version": 1,
        "kind": f"message_{outcome.state}",
        "id": entry.id,
        "source": message.source,
        "channel": message.channel,
        "reason": outcome.reason,
        "detail": printable(outcome.detail) + others,
        "message": printable(message.raw[:_MOST_BYTES].decode("utf-8", "replace")),
    }
    return Event(ERRORS_CHANNEL, payload)


DEFAULT_RECORD = MessageRecord()
