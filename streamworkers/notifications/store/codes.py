"""Codes that verify endpoints: sent there, kept as a hash, good for some minutes and a few tries."""

import hashlib
import hmac
import secrets
from datetime import timedelta

from streamworkers.actor import Actor
from streamworkers.database import Connection, fetch_row
from streamworkers.errors import BadInputError
from streamworkers.notifications.content import Content
from streamworkers.notifications.notification_types import CODE_TYPE
from streamworkers.notifications.store.endpoints import Endpoint, find_endpoint, record_endpoint
from streamworkers.notifications.store.messages import add_message

CODE_LIFE = timedelta(minutes=15)
SHORTEST_PAUSE = timedelta(minutes=1)
MOST_TRIES = 5
_LENGTH = 8
_CHARACTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # none that is taken for another

_STATE = """
SELECT code_hash, code_tries, code_expires_at <= clock_timestamp() AS has_expired,
       code_expires_at - %s > clock_timestamp() AS is_fresh
FROM endpoints WHERE id = %s"""

_KEEP = """
UPDATE endpoints SET code_hash = %s, code_expires_at = clock_timestamp() + %s, code_tries = 0 WHERE id = %s"""

_VERIFY = """
UPDATE endpoints SET verified_at = clock_timestamp(), code_hash = NULL, code_expires_at = NULL, code_tries = 0
WHERE id = %s"""


def issue_code(connection: Connection, actor: Actor, name: str) -> Endpoint:
    """Send a new code to an endpoint that is not verified; the one before ends.

    The code is only in the delivery, not in what this returns. Raises UnknownNameError, and BadInputError for an
    endpoint that is verified or off, and within a minute of the code before.
    """
    with connection.transaction():
        endpoint = find_endpoint(connection, actor.user, name, lock=True)
        if endpoint.verified_at is not None:
            raise BadInputError(f"endpoint {name!r} is verified already")
        if endpoint.off_at is not None:
            raise BadInputError(f"endpoint {name!r} is off ({endpoint.off_reason}): switch it on first")
        state = fetch_row(connection, _STATE, (CODE_LIFE - SHORTEST_PAUSE, endpoint.id))
        if state is not None and state["is_fresh"]:
            raise BadInputError(f"a code was sent to endpoint {name!r} less than a minute ago: wait for it")
        code = "".join(secrets.choice(_CHARACTERS) for _ in range(_LENGTH))
        connection.execute(_KEEP, (_hash(endpoint.id, code), CODE_LIFE, endpoint.id))
        content = Content(
            title="Your code",
            lines=(f"{code} confirms that user {actor.user} gets notifications here. Ignore it if that is not you.",),
        )
        add_message(connection, endpoint, CODE_TYPE, content, CODE_LIFE)
        record_endpoint(connection, actor, "send_code", endpoint)
    return endpoint


def verify_endpoint(connection: Connection, actor: Actor, name: str, code: str) -> None:
    """Verify an endpoint by the code that was sent there. Verifying a verified one changes nothing.

    Raises UnknownNameError, and BadInputError for a wrong code, one that has ended, or after too many tries; a try
    counts although it raises, unless the caller's transaction is rolled back.
    """
    with connection.transaction():
        endpoint = find_endpoint(connection, actor.user, name, lock=True)
        trouble = None if endpoint.verified_at is not None else _check(connection, endpoint, code)
        if trouble is None and endpoint.verified_at is None:
            connection.execute(_VERIFY, (endpoint.id,))
        if trouble is None:
            record_endpoint(connection, actor, "verify", endpoint)
    if trouble is not None:
        raise BadInputError(trouble)


def _check(connection: Connection, endpoint: Endpoint, code: str) -> str | None:
    """What is wrong with a code; a wrong one is counted."""
    state = fetch_row(connection, _STATE, (CODE_LIFE, endpoint.id))
    if state is None or state["code_hash"] is None:
        return f"no code was sent to endpoint {endpoint.name!r}: ask for one first"
    if state["has_expired"]:
        return (
            f"the code of endpoint {endpoint.name!r} has ended after {CODE_LIFE.seconds // 60} minutes: ask for another"
        )
    if state["code_tries"] >= MOST_TRIES:
        return f"{MOST_TRIES} wrong codes were tried for endpoint {endpoint.name!r}: ask for another"
    given = "".join(code.split()).replace("-", "").upper()
    if hmac.compare_digest(bytes(state["code_hash"]), _hash(endpoint.id, given)):
        return None
    connection.execute("UPDATE endpoints SET code_tries = code_tries + 1 WHERE id = %s", (endpoint.id,))
    return f"this is not the code that was sent to endpoint {endpoint.name!r}"


def _hash(endpoint_id: int, code: str) -> bytes:
    """Codes are random and end after minutes, so that a plain hash keeps them."""
    return hashlib.sha256(f"{endpoint_id}:{code}".encode("utf-8", "replace")).digest()
