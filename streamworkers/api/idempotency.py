"""Requests that are sent again: the first one's effect, its answer and its key are one transaction.

Two locks tell what is in progress from what is done without waiting: one of the token, the key and the body, and one of
the token and the key. A second request that waited for the first on a unique index would be no quick 409.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from streamworkers.api.problem import Problem
from streamworkers.database import Connection, fetch_value

KEPT = "24 hours"
_LONGEST_KEY = 255
_LOCKS = 0x5349  # any fixed number: it sets these advisory locks apart
_FIND = f"""
    SELECT method, path, body_sha256, status, body FROM api_idempotency
    WHERE token_id = %s AND key = %s AND created_at > clock_timestamp() - interval '{KEPT}'
"""  # noqa: S608  # a constant
_KEEP = """
    INSERT INTO api_idempotency (token_id, key, method, path, body_sha256, status, body)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (token_id, key) DO UPDATE SET (method, path, body_sha256, status, body, created_at)
        = (excluded.method, excluded.path, excluded.body_sha256, excluded.status, excluded.body, clock_timestamp())
"""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with a key, of a token."""

    token: int
    key: str
    method: str
    path: str
    body: bytes

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the body."""
        return hashlib.sha256(self.body).digest()


def read_key(text: str | None) -> str | None:
    """Return the key of a header, with or without its quotes. Raises Problem for one that breaks a rule."""
    if text is None:
        return None
    bare = text.strip()
    if len(bare) >= 2 and bare[0] == bare[-1] == '"':
        bare = re.sub(r'\\(["\\])', r"\1", bare[1:-1])
    if not re.fullmatch(r"[!-~]{1,255}", bare):
        rule = f"1 to {_LONGEST_KEY} visible characters of ASCII, with or without quotes"
        raise Problem(400, "bad-key", f"Idempotency-Key {text[:80]!r} is not {rule}")
    return bare


def answer_once(
    connection: Connection, request: KeyedRequest, work: Callable[[], tuple[int, bytes]]
) -> tuple[int, bytes, bool]:
    """Do the work of a request in the caller's transaction, or return the kept answer of the first with its key.

    Returns the status, the body, and whether they are kept ones. Raises Problem 409 while the same request is in
    progress, and 422 for a key that belongs to another.
    """
    if not _try_lock(connection, f"{request.token} {request.key} {request.digest.hex()}"):
        text = f"a request with Idempotency-Key {request.key!r} is in progress"
        raise Problem(409, "in-progress", text, headers={"Retry-After": "1"})
    if not _try_lock(connection, f"{request.token} {request.key}"):
        raise _taken(request)
    row = connection.execute(_FIND, (request.token, request.key)).fetchone()
    if row is not None:
        method, path, digest, status, body = row
        if (method, path, digest) != (request.method, request.path, request.digest):
            raise _taken(request)
        return status, body, True
    status, body = work()
    words = (request.token, request.key, request.method, request.path, request.digest, status, body)
    connection.execute(_KEEP, words)
    return status, body, False


def _try_lock(connection: Connection, name: str) -> bool:
    return bool(fetch_value(connection, "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, %s))", (name, _LOCKS)))


def _taken(request: KeyedRequest) -> Problem:
    return Problem(422, "key-conflict", f"Idempotency-Key {request.key!r} belongs to another request")
