"""The table `endpoints`: where users can be reached. Each function that changes one is one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_rows
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.names import require_name
from streamworkers.notifications.channels.channel import Address
from streamworkers.users import lock_user

MOST_ENDPOINTS = 50
_FIND = """
SELECT id, user_id AS user, name, channel, address, settings, verified_at, off_at, off_reason, created_at, created_by
FROM endpoints"""

# Who adds an endpoint for others has to know whose it is; all else needs a proof.
_TRUSTED = ("cli", "system")

_ADD = """
INSERT INTO endpoints (user_id, name, channel, address, settings, verified_at, created_by)
VALUES (%s, %s, %s, %s, %s, CASE WHEN %s THEN clock_timestamp() END, %s)"""

_OFF = """
UPDATE endpoints SET off_at = coalesce(off_at, clock_timestamp()), off_reason = coalesce(off_reason, %s),
    off_by_provider = %s
WHERE id = %s AND off_at IS NULL"""

# One with a claim is ambiguous: the next claim names it, finds the endpoint off, and suppresses it.
_SUPPRESS = """
UPDATE deliveries SET state = 'suppressed', reason = %s
WHERE endpoint_id = %s AND state IN ('queued', 'deferred', 'failed', 'ambiguous') AND claim IS NULL"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a user can be reached; nothing goes to one that is off, nor but a code to one that is not verified."""

    id: int
    user: str
    name: str
    channel: str
    address: str
    settings: Mapping[str, Any]
    verified_at: datetime | None
    off_at: datetime | None
    off_reason: str | None
    created_at: datetime
    created_by: str

    @property
    def target(self) -> Address:
        """The address as its channel sees it."""
        return Address(self.address, self.settings)

    @property
    def is_usable(self) -> bool:
        """True if notifications may go there."""
        return self.verified_at is not None and self.off_at is None


def add_endpoint(
    connection: Connection,
    actor: Actor,
    channel: str,
    address: Address,
    name: str | None = None,
    *,
    is_proven: bool = False,
) -> Endpoint:
    """Add an endpoint of the actor's user; `address` is what the channel's `check_address` returned.

    It is verified if an administrator adds it, or if the caller has the proof that it is the user's (the bot in its
    chat); else by a code (`issue_code`). Without a name it is named by its channel. Raises BadInputError for a name or
    address that the user has already, and UnknownNameError for an unknown user.
    """
    require_name("channel", channel)
    if name is not None:
        require_name("endpoint", name)
    with connection.transaction():
        lock_user(connection, actor)
        existing = list_endpoints(connection, actor.user)
        _require_free(existing, actor.user, channel, address.address, name)
        chosen = name or _free_name(channel, {each.name for each in existing})
        is_verified = is_proven or actor.kind in _TRUSTED
        values = (actor.user, chosen, channel, address.address, Jsonb(dict(address.settings)), is_verified, str(actor))
        connection.execute(_ADD, values)
        added = find_endpoint(connection, actor.user, chosen)
        record_endpoint(connection, actor, "add", added)
        return added


def remove_endpoint(connection: Connection, actor: Actor, name: str) -> Endpoint:
    """Remove an endpoint; what waits for it is suppressed. Raises UnknownNameError."""
    with connection.transaction():
        endpoint = find_endpoint(connection, actor.user, name, lock=True)
        connection.execute(_SUPPRESS, ("its endpoint was removed", endpoint.id))
        connection.execute("DELETE FROM endpoints WHERE id = %s", (endpoint.id,))
        record_endpoint(connection, actor, "remove", endpoint)
    return endpoint


def switch_endpoint_off(connection: Connection, actor: Actor, name: str, reason: str | None = None) -> None:
    """Send nothing to an endpoint any more; what waits for it is suppressed. Raises UnknownNameError."""
    with connection.transaction():
        endpoint = find_endpoint(connection, actor.user, name, lock=True)
        close_endpoint(connection, endpoint.id, reason or f"switched off by {actor}", by_provider=False)
        record_endpoint(connection, actor, "off", endpoint)


def switch_endpoint_on(connection: Connection, actor: Actor, name: str) -> None:
    """Send to an endpoint again, from now on. Raises UnknownNameError."""
    with connection.transaction():
        endpoint = find_endpoint(connection, actor.user, name, lock=True)
        connection.execute(
            "UPDATE endpoints SET off_at = NULL, off_reason = NULL, off_by_provider = false WHERE id = %s",
            (endpoint.id,),
        )
        record_endpoint(connection, actor, "on", endpoint)


def record_endpoint(connection: Connection, actor: Actor, verb: str, endpoint: Endpoint) -> None:
    """Add a row about an endpoint to the audit log, without its address, which may be a secret."""
    after = {"user": endpoint.user, "channel": endpoint.channel}
    record_change(connection, actor, AuditChange(f"endpoint.{verb}", "endpoint", endpoint.name, after=after))


def close_endpoint(connection: Connection, endpoint_id: int, reason: str, *, by_provider: bool = True) -> bool:
    """Switch an endpoint off by its id; True if it was on. What waits for it is suppressed."""
    with connection.transaction():
        was_on = connection.execute(_OFF, (reason, by_provider, endpoint_id)).rowcount > 0
        connection.execute(_SUPPRESS, (f"its endpoint is off: {reason}", endpoint_id))
    return was_on


def set_endpoint_settings(connection: Connection, endpoint_id: int, settings: Mapping[str, Any]) -> None:
    """Replace the settings of an endpoint by those that its channel has checked."""
    connection.execute("UPDATE endpoints SET settings = %s WHERE id = %s", (Jsonb(dict(settings)), endpoint_id))


def move_endpoint(connection: Connection, endpoint_id: int, address: str) -> bool:
    """Store the new address that a provider names; False if the user has an endpoint there already, which stays."""
    moved = """
        UPDATE endpoints e SET address = %(address)s WHERE e.id = %(id)s AND NOT EXISTS (
            SELECT FROM endpoints o WHERE o.user_id = e.user_id AND o.channel = e.channel
            AND o.address = %(address)s AND o.id <> e.id)"""
    return connection.execute(moved, {"address": address, "id": endpoint_id}).rowcount > 0


def find_endpoint(connection: Connection, user: str, name: str, *, lock: bool = False) -> Endpoint:
    """The endpoint of a user with this name; `lock` keeps it to the end of the transaction. Raises UnknownNameError."""
    statement = f"{_FIND} WHERE user_id = %s AND name = %s"
    rows = fetch_rows(connection, statement + (" FOR UPDATE" if lock else ""), (user, name))
    if not rows:
        raise UnknownNameError("endpoint", name, (each.name for each in list_endpoints(connection, user)))
    return Endpoint(**rows[0])


def list_endpoints(connection: Connection, user: str) -> list[Endpoint]:
    """The endpoints of a user, by name."""
    return read_endpoints(connection, [user]).get(user, [])


def read_endpoints(connection: Connection, users: Sequence[str]) -> dict[str, list[Endpoint]]:
    """The endpoints of users, by name; users without any are left out."""
    statement = f"{_FIND} WHERE user_id = ANY(%s) ORDER BY user_id, name"
    found: dict[str, list[Endpoint]] = {}
    for row in fetch_rows(connection, statement, (list(users),)):
        found.setdefault(row["user"], []).append(Endpoint(**row))
    return found


def list_on_channel(connection: Connection, channel: str) -> list[Endpoint]:
    """The endpoints of all users on a channel."""
    return [Endpoint(**row) for row in fetch_rows(connection, f"{_FIND} WHERE channel = %s ORDER BY id", (channel,))]


def find_at_address(connection: Connection, channel: str, address: str) -> list[Endpoint]:
    """The endpoints of all users with this address, oldest first: whose chat is it?"""
    statement = f"{_FIND} WHERE channel = %s AND address = %s ORDER BY id"
    return [Endpoint(**row) for row in fetch_rows(connection, statement, (channel, address))]


def find_by_id(connection: Connection, endpoint_id: int) -> Endpoint | None:
    """The endpoint with this id; None if it was removed."""
    rows = fetch_rows(connection, f"{_FIND} WHERE id = %s", (endpoint_id,))
    return Endpoint(**rows[0]) if rows else None


def _require_free(existing: Sequence[Endpoint], user: str, channel: str, address: str, name: str | None) -> None:
    if len(existing) >= MOST_ENDPOINTS:
        raise BadInputError(f"user {user!r} has {len(existing)} endpoints, the most there may be: remove some first")
    for each in existing:
        if each.name == name:
            raise BadInputError(f"user {user!r} has an endpoint {name!r} already: choose another name, or remove it")
        if (each.channel, each.address) == (channel, address):
            raise BadInputError(f"user {user!r} has this address of {channel} already, as endpoint {each.name!r}")


def _free_name(channel: str, taken: set[str]) -> str:
    numbered = (f"{channel}-{number}" for number in range(2, MOST_ENDPOINTS + 2))
    return next(name for name in (channel, *numbered) if name not in taken)
