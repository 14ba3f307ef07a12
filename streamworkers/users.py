"""The users, who own alerts, endpoints, preferences and notifications."""

from streamworkers.actor import Actor
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import UnknownNameError


def lock_user(connection: Connection, actor: Actor) -> None:
    """Lock the row of the actor's user, so that their changes come one after the other. Raises UnknownNameError."""
    if fetch_value(connection, "SELECT id FROM users WHERE id = %s FOR NO KEY UPDATE", (actor.user,)) is None:
        require_user(connection, actor.user)


def require_user(connection: Connection, user: str) -> None:
    """Raise UnknownNameError if there is no such user."""
    if fetch_value(connection, "SELECT id FROM users WHERE id = %s", (user,)) is None:
        known = connection.execute("SELECT id FROM users ORDER BY id LIMIT 1000")
        raise UnknownNameError("user", user, (found for (found,) in known))


def add_user(connection: Connection, user: str) -> bool:
    """Add a user, unless there is one of that id; True if there was none."""
    return connection.execute("INSERT INTO users (id) VALUES (%s) ON CONFLICT DO NOTHING", (user,)).rowcount > 0
