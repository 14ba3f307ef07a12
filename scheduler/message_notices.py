"""What people are notified of about messages of other programs: those that were rejected."""

import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.outcome import make_notice
from streamworkers.faults import printable

_MOST_DETAIL = 1_000


class Rejection(NamedTuple):
    """A message that broke a rule: where it came from, `reason` for programs, and `detail` for people."""

    message: bytes
    source: str
    reason: str
    detail: str


def notify_rejected(connection: Connection, rejection: Rejection) -> None:
    """Notify the user of system notifications, once a day for each content, however often it comes."""
    digest = hashlib.sha256(rejection.message).hexdigest()[:32]
    data = {"source": rejection.source, "reason": rejection.reason}
    data["detail"] = printable(rejection.detail)[:_MOST_DETAIL]
    key = f"message_rejected:{digest}:{datetime.now(UTC).date()}"
    user = load_settings().system_user
    notice = make_notice(user, "message_rejected", key, data, priority="high", group="message_rejected")
    ledger.add_events(connection, [notice])
