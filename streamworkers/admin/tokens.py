"""Tokens of the HTTP API: made, found, rotated and revoked here; only their SHA-256 is kept."""

import base64
import hashlib
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_row, fetch_rows, fetch_value
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.names import require_name
from streamworkers.users import add_user, require_new_user

SCOPES = ("read", "run", "schedule", "alerts", "notify", "admin")
LIFE = timedelta(days=90)
LONGEST_LIFE = timedelta(days=3660)
GRACE = timedelta(minutes=30)
_LONGEST_GRACE = timedelta(days=7)
_PREFIX = "sw_live_"
_COLUMNS = """id, name, user_id AS "user", scopes, created_at, created_by, expires_at, last_used_at, revoked_at,
    rotated_from, version, expires_at <= clock_timestamp() AS is_expired,
    coalesce(revoked_at <= clock_timestamp(), false) AS is_revoked"""
_FIND = f"SELECT {_COLUMNS} FROM api_tokens"  # noqa: S608  # constants
_INSERT = """
    INSERT INTO api_tokens (name, user_id, scopes, secret_hash, created_by, expires_at, rotated_from)
    VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id
"""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is known of a token; nobody knows its text any more."""

    id: int
    name: str
    user: str
    scopes: list[str]
    created_at: datetime
    created_by: str
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None
    rotated_from: int | None
    version: int
    is_expired: bool
    is_revoked: bool

    @property
    def state(self) -> str:
        """Whether it is good: `good`, `expired`, `revoked`, or `ending` after a rotation."""
        if self.is_revoked or self.is_expired:
            return "revoked" if self.is_revoked else "expired"
        return "good" if self.revoked_at is None else "ending"

    def describe(self) -> dict[str, Any]:
        """What the audit log keeps of it."""
        return {"name": self.name, "user": self.user, "scopes": self.scopes, "expires_at": self.expires_at.isoformat()}


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token and its text, which is shown once."""

    token: ApiToken
    text: str


def hash_token(text: str) -> bytes:
    """What is kept of a token. A text of the form of such a hash is hashed too, so that it finds nothing."""
    return hashlib.sha256(text.encode()).digest()


def create_token(
    connection: Connection, actor: Actor, name: str, user: str, scopes: Sequence[str], life: timedelta = LIFE
) -> NewToken:
    """Make a token that acts for a user, and the user if there is none of that id.

    Raises BadInputError for a name, user, scope or life that breaks a rule.
    """
    require_name("token", name)
    require_new_user(connection, user)
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        wrong = f"scope {unknown[0]!r} is not one" if unknown else "a token needs at least one scope"
        raise BadInputError(f"{wrong} of {', '.join(SCOPES)}")
    if not timedelta(0) < life <= LONGEST_LIFE:
        raise BadInputError(f"a life of {life.days} days is not between 1 and {LONGEST_LIFE.days}")
    with connection.transaction():
        add_user(connection, user)
        expires_at = fetch_value(connection, "SELECT clock_timestamp() + %s", (life,))
        return _insert(connection, actor, "token.create", (name, user, sorted(set(scopes)), expires_at, None))


def list_tokens(connection: Connection, user: str | None = None) -> list[ApiToken]:
    """Return all tokens, or those of a user, the newest first."""
    rows = fetch_rows(connection, f"{_FIND} WHERE %s::text IS NULL OR user_id = %s ORDER BY id DESC", (user, user))
    return [ApiToken(**row) for row in rows]


def find_token(connection: Connection, text: str) -> ApiToken | None:
    """Return the token with this text, also one that is not good any more; None if there is none."""
    row = fetch_row(connection, f"{_FIND} WHERE secret_hash = %s", (hash_token(text),))
    return None if row is None else ApiToken(**row)


def rotate_token(connection: Connection, actor: Actor, number: int, grace: timedelta = GRACE) -> NewToken:
    """Make the successor of a token, with its name, user, scopes and length of life; the old one is good for `grace`.

    Raises UnknownNameError, and BadInputError for one that is not good any more or was rotated already.
    """
    if not timedelta(0) <= grace <= _LONGEST_GRACE:
        raise BadInputError(f"a grace of {grace} is not between 0 and {_LONGEST_GRACE.days} days")
    with connection.transaction():
        old = _require_token(connection, number)
        if old.state != "good":
            raise BadInputError(f"token {number} is {old.state}, and only a good one can be rotated")
        now = fetch_value(connection, "SELECT clock_timestamp()")
        life = old.expires_at - old.created_at
        connection.execute(
            "UPDATE api_tokens SET revoked_at = %s, version = version + 1 WHERE id = %s", (now + grace, number)
        )
        return _insert(connection, actor, "token.rotate", (old.name, old.user, old.scopes, now + life, number))


def revoke_token(connection: Connection, actor: Actor, number: int) -> ApiToken:
    """Reject a token from now on. Revoking a revoked token changes nothing. Raises UnknownNameError."""
    with connection.transaction():
        old = _require_token(connection, number)
        if not old.is_revoked:
            connection.execute(
                "UPDATE api_tokens SET revoked_at = clock_timestamp(), version = version + 1 WHERE id = %s", (number,)
            )
        record_change(connection, actor, AuditChange("token.revoke", "token", str(number), before=old.describe()))
        return _require_token(connection, number)


def note_use(connection: Connection, number: int) -> None:
    """Record that a token was used, at most once a minute; not worth waiting for the disk."""
    connection.execute(
        """
        WITH quickly AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
        UPDATE api_tokens SET last_used_at = clock_timestamp() FROM quickly
        WHERE id = %s AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')
        """,
        (number,),
    )


def _insert(connection: Connection, actor: Actor, action: str, fields: tuple[Any, ...]) -> NewToken:
    name, user, scopes, expires_at, rotated_from = fields
    text = _make_text()
    number = fetch_value(
        connection, _INSERT, (name, user, scopes, hash_token(text), str(actor), expires_at, rotated_from)
    )
    token = _require_token(connection, number)
    record_change(connection, actor, AuditChange(action, "token", str(rotated_from or number), after=token.describe()))
    return NewToken(token, text)


def _make_text() -> str:
    """A token: 256 random bits, and a checksum by which scanners for secrets know it."""
    body = _PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return f"{body}_{zlib.crc32(body.encode()):08x}"


def _require_token(connection: Connection, number: int) -> ApiToken:
    try:
        row = fetch_row(connection, f"{_FIND} WHERE id = %s FOR UPDATE", (number,))
    except psycopg.errors.NumericValueOutOfRange:
        row = None
    if row is None:
        known = connection.execute("SELECT id::text FROM api_tokens ORDER BY id DESC LIMIT 1000")
        raise UnknownNameError("token", str(number), (each for (each,) in known))
    return ApiToken(**row)
