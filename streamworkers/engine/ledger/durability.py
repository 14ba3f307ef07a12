"""When a commit is on disk. A lazy one is visible at once, and lost if PostgreSQL crashes within a moment.

PostgreSQL's log keeps the order of commits, so waiting for a later one waits for all before it.
"""

from streamworkers.database import Connection

# The handler's session may have other settings; these names and values do not depend on it.
_WAIT = b"""
    BEGIN READ WRITE;
    SET LOCAL synchronous_commit TO DEFAULT;
    SELECT pg_catalog.pg_logical_emit_message(true, 'streamworkers', '');
    COMMIT
"""


def commit_lazily(connection: Connection) -> None:
    """Let the commit of the open transaction not wait for the disk."""
    connection.execute("SET LOCAL synchronous_commit TO off")


def commit_safely(connection: Connection) -> None:
    """Let the commit of the open transaction, which may have only read, wait until all that it has seen is safe."""
    connection.execute("SELECT pg_catalog.pg_logical_emit_message(true, 'streamworkers', '')")


def wait_for_commits(connection: Connection) -> None:
    """Return when all lazy commits so far of this session are as safe as any commit."""
    connection.execute(_WAIT)
