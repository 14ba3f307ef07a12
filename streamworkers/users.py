"""The users, who own alerts, endpoints, preferences and notifications."""

from streamworkers.actor import Actor
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.names import find_name_error

# A row of the migrations that owns the webhooks of runs; triggers use it too. It is nobody: who asks for it, or for all
# users, does not find it.
RUN_WEBHOOKS = "-run-webhooks"
SELECT_USERS = f"SELECT id FROM users WHERE id <> '{RUN_WEBHOOKS}'"  # noqa: S608  # a constant


def lock_user(connection: Connection, actor: Actor) -> None:
    """Lock the row of the actor's user, so that their changes come one after the other. Raises UnknownNameError."""
    if fetch_value(connection, SELECT_USERS + " AND id = %s FOR NO KEY UPDATE", (actor.user,)) is None:
        require_user(connection, actor.user)


def require_user(connection: Connection, user: str) -> None:
    """Raise UnknownNameError if there is no such user."""
    if fetch_value(connection, SELECT_USERS + " AND id = %s", (user,)) is None:
        known = connection.execute(SELECT_USERS + " ORDER BY id LIMIT 1000")
        raise UnknownNameError("user", user, (found for (found,) in known))


def list_users_with_prefix(connection: Connection, prefix: str, limit: int) -> list[str]:
    """Return at most `limit` users whose names begin with a prefix, in alphabetical order."""
    query = SELECT_USERS + " AND starts_with(id, %s) ORDER BY id LIMIT %s"
    rows = connection.execute(query, (prefix, limit))
    return [user for (user,) in rows]


def require_new_user(connection: Connection, user: str) -> None:
    """Raise BadInputError for a name that no new user can have; one who is there keeps theirs, whatever it is."""
    problem = find_name_error("user", user)
    if problem is not None and not _is_there(connection, user):
        raise BadInputError(problem)


def _is_there(connection: Connection, user: str) -> bool:
    storable = "\0" not in user and user.isprintable()
    return storable and fetch_value(connection, "SELECT id FROM users WHERE id = %s", (user,)) is not None


def add_user(connection: Connection, user: str) -> bool:
    """Add a user, unless there is one of that id; True if there was none."""
    return connection.execute("INSERT INTO users (id) VALUES (%s) ON CONFLICT DO NOTHING", (user,)).rowcount > 0
