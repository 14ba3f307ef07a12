"""Poolers between the pool and PostgreSQL, such as PgBouncer: which can be used, and which cannot.

The pool needs a session of its own for each connection: schedulers LISTEN, an enqueue and a migration hold advisory
locks, settings are set once, and statements are prepared.
"""

from streamworkers.database import Connection, connect, fetch_value, is_pooled
from streamworkers.errors import UsageError

_LOOKS = 3
_TROUBLE = (
    "the pooler in front of PostgreSQL gives connections a session for one transaction or statement only:"
    " set its pool_mode to session, or connect directly"
)


def find_pooler_trouble(connection: Connection, url: str) -> str | None:
    """Return why the pooler between us and PostgreSQL at `url` cannot be used; None if it can, or if there is none.

    A pooler that keeps sessions never lets two connections share one, and never changes one. Raises
    ServiceUnreachableError if no second connection can be opened.
    """
    if not is_pooled(connection):
        return None
    with connect(url, application="streamworkers-pooler-probe") as other:
        own = _read_session_id(connection)
        for _ in range(_LOOKS):
            if _read_session_id(other) == own or _read_session_id(connection) != own:
                return _TROUBLE
    return None


def require_sessions(connection: Connection, url: str) -> None:
    """Raise UsageError if the pooler at `url` does not keep sessions."""
    if trouble := find_pooler_trouble(connection, url):
        raise UsageError(trouble)


def _read_session_id(connection: Connection) -> int:
    return int(fetch_value(connection, "SELECT pg_backend_pid()"))
