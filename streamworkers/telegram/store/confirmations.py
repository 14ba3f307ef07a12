"""The table `telegram_confirmations`: questions with a button, each pressed once, by the one who was asked."""

import uuid
from datetime import timedelta
from typing import NamedTuple

from streamworkers.database import Connection, fetch_row, fetch_value
from streamworkers.telegram.store.links import Place

VALID = timedelta(seconds=60)
_ASK = """
INSERT INTO telegram_confirmations (bot_id, telegram_user, chat_id, action, subject, expires_at)
VALUES (%s, %s, %s, %s, %s, clock_timestamp() + %s) RETURNING id"""
_USE = """
UPDATE telegram_confirmations SET used_at = clock_timestamp()
WHERE id = %s AND bot_id = %s AND telegram_user = %s AND chat_id = %s AND used_at IS NULL
  AND expires_at > clock_timestamp() RETURNING action, subject"""
_WHY = """
SELECT used_at IS NOT NULL AS is_used FROM telegram_confirmations
WHERE id = %s AND bot_id = %s AND telegram_user = %s AND chat_id = %s"""


class Confirmed(NamedTuple):
    """What was confirmed, or why nothing was."""

    action: str | None = None
    subject: int | None = None
    trouble: str = ""


def ask(connection: Connection, place: Place, action: str, subject: int | None = None) -> uuid.UUID:
    """Store a question, and return the id that its button carries."""
    found: uuid.UUID = fetch_value(connection, _ASK, (*place.key, action, subject, VALID))
    return found


def confirm(connection: Connection, place: Place, question: uuid.UUID) -> Confirmed:
    """Take the answer to a question, once, and only of the person who was asked."""
    row = fetch_row(connection, _USE, (question, *place.key))
    if row is not None:
        return Confirmed(row["action"], row["subject"])
    known = fetch_row(connection, _WHY, (question, *place.key))
    if known is None:
        return Confirmed(trouble="this button is not yours, or too old")
    if known["is_used"]:
        return Confirmed(trouble="already done")
    return Confirmed(trouble=f"too late: the button was good for {VALID.seconds} s, so ask again")
