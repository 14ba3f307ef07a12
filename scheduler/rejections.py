"""Reports messages of other programs that were rejected: to people, and on `tickstock:errors`."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

from psycopg_pool import ConnectionPool

from scheduler.message_notices import Rejection, notify_rejected
from streamworkers.database import Connection
from streamworkers.engine.redis.inbox import Messages
from streamworkers.engine.redis.keys import ERRORS_CHANNEL

_REJECTED_ONCE_SECONDS = 60

Kind = Literal["started", "notified", "duplicate", "ignored", "rejected"]


@dataclass(frozen=True, slots=True)
class MessageResult:
    """What was done with a message: `kind` and `reason` are metric labels, `detail` is for people."""

    kind: Kind
    reason: str
    detail: str = ""
    runs: tuple[int, ...] = ()


def report_rejection(pool: "ConnectionPool[Connection]", messages: Messages, rejection: Rejection) -> MessageResult:
    """Notify and publish once why a message was rejected, though every replica has received it."""
    # The notification first: it is made once, however often this is repeated.
    with pool.connection() as connection:
        notify_rejected(connection, rejection)
    payload = {
        "schema_version": 1,
        "kind": "message_rejected",
        "source": rejection.source,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "message": rejection.message[:500].decode("utf-8", "replace"),
    }
    what = f"rejected:{rejection.source}:{hashlib.sha256(rejection.message).hexdigest()}"
    if not messages.publish_once(what, _REJECTED_ONCE_SECONDS, ERRORS_CHANNEL, json.dumps(payload)):
        return MessageResult("duplicate", "rejected", rejection.detail)
    return MessageResult("rejected", rejection.reason, rejection.detail)
