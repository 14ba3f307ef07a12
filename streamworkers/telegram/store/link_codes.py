"""The tables `telegram_codes` and `telegram_tries`: codes that link a chat, for one use, and what guessing costs."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from streamworkers.actor import Actor
from streamworkers.database import Connection, fetch_row
from streamworkers.errors import BadInputError
from streamworkers.telegram.store.links import Place
from streamworkers.users import require_user

CODE_LIFE = timedelta(minutes=10)
LOCK = timedelta(hours=1)
MOST_TRIES = 5
SCOPES = ("ops", "trade")
_BYTES = 32
_USE = """
UPDATE telegram_codes SET used_at = clock_timestamp()
WHERE code_hash = %s AND used_at IS NULL AND expires_at > clock_timestamp() RETURNING user_id, scopes"""
_WHY = "SELECT used_at IS NOT NULL AS is_used FROM telegram_codes WHERE code_hash = %s"
_COUNT = """
INSERT INTO telegram_tries AS t (bot_id, telegram_user, chat_id, tries, tried_at)
VALUES (%(bot)s, %(person)s, %(chat)s, 1, clock_timestamp())
ON CONFLICT (bot_id, telegram_user, chat_id) DO UPDATE SET
    tries = CASE WHEN t.tried_at < clock_timestamp() - %(lock)s THEN 1 ELSE t.tries + 1 END,
    locked_until = CASE WHEN t.tried_at >= clock_timestamp() - %(lock)s AND t.tries + 1 >= %(most)s
                        THEN clock_timestamp() + %(lock)s END,
    tried_at = clock_timestamp()"""
_LOCKED = """
SELECT true AS is_locked FROM telegram_tries
WHERE bot_id = %s AND telegram_user = %s AND chat_id = %s AND locked_until > clock_timestamp()"""


class UsedCode(NamedTuple):
    """The user and scopes of a code that was right, or what is wrong with it."""

    user: str | None = None
    scopes: Sequence[str] = ()
    trouble: str = ""


def make_code(connection: Connection, actor: Actor, user: str, scopes: Sequence[str]) -> str:
    """Make a code that links the chat in which it is sent with a user. Raises UnknownNameError and BadInputError."""
    for scope in scopes:
        if scope not in SCOPES:
            raise BadInputError(f"scope {scope!r} is not one of {', '.join(SCOPES)}")
    require_user(connection, user)
    code = secrets.token_urlsafe(_BYTES)
    connection.execute(
        "INSERT INTO telegram_codes (code_hash, user_id, scopes, created_by, expires_at)"
        " VALUES (%s, %s, %s, %s, clock_timestamp() + %s)",
        (_hash(code), user, sorted(set(scopes)), str(actor), CODE_LIFE),
    )
    return code


def use_code(connection: Connection, place: Place, code: str) -> UsedCode:
    """Use a code up. A wrong one is counted against this person in this chat, and locks both for an hour in the end."""
    if fetch_row(connection, _LOCKED, place.key) is not None:
        return UsedCode(trouble=f"too many wrong codes here: try again in {LOCK.seconds // 3600} h")
    row = fetch_row(connection, _USE, (_hash(code),))
    if row is not None:
        connection.execute(
            "DELETE FROM telegram_tries WHERE bot_id = %s AND telegram_user = %s AND chat_id = %s", place.key
        )
        return UsedCode(row["user_id"], row["scopes"])
    connection.execute(
        _COUNT,
        {
            "bot": place.bot_id,
            "person": place.telegram_user,
            "chat": place.chat_id,
            "most": MOST_TRIES,
            "lock": LOCK,
        },
    )
    known = fetch_row(connection, _WHY, (_hash(code),))
    if known is None:
        return UsedCode(trouble="this is not a code")
    if known["is_used"]:
        return UsedCode(trouble="this code was used already: ask for another")
    return UsedCode(trouble=f"this code has ended: it was good for {CODE_LIFE.seconds // 60} minutes")


def _hash(code: str) -> bytes:
    """Codes are 32 random bytes, so a plain hash keeps them."""
    return hashlib.sha256(code.encode()).digest()
