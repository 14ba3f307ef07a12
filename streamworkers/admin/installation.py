"""Which database and which keys in Redis belong together: one ledger has one pool, and a key prefix has one ledger.

The first process ties them. Two pools on one ledger would execute each item twice, though its effect would be there
once; two ledgers with one prefix would execute each other's entries.
"""

from streamworkers.database import Connection
from streamworkers.engine.ledger.run_export import forget_transactions
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import UsageError


def find_installation_trouble(connection: Connection, streams: Streams) -> str | None:
    """Return why the database and the keys under the prefix do not belong together; None if they do or are free."""
    prefix = streams.keys.prefix
    own_id, own_prefix = _read(connection)
    if own_prefix not in (None, prefix):
        return (
            f"this database belongs to the pool whose keys begin with {own_prefix!r}, and STREAMWORKERS_KEY_PREFIX is"
            f" {prefix!r}: two pools on one database would execute each item twice. Give each pool a database of its"
            " own, or, if the other pool is gone, run `streamworkers adopt`"
        )
    if (other_id := streams.read_installation()) not in (None, own_id):
        return (
            f"the keys that begin with {prefix!r} belong to installation {other_id}, and this database is installation"
            f" {own_id}: give each installation a STREAMWORKERS_KEY_PREFIX of its own, or, if the other database is"
            " gone, run `streamworkers adopt`"
        )
    return None


def reject_other_installation(connection: Connection, streams: Streams) -> None:
    """Raise UsageError if the database or the keys under the prefix belong to another. Changes nothing."""
    if trouble := find_installation_trouble(connection, streams):
        raise UsageError(trouble)


def require_installation(connection: Connection, streams: Streams) -> None:
    """Tie the database and the keys under the prefix. Raises UsageError if either belongs to another already."""
    reject_other_installation(connection, streams)
    forget_transactions(connection)
    own_id, own_prefix = _read(connection)
    if own_prefix is None:
        connection.execute("UPDATE installation SET key_prefix = %s WHERE key_prefix IS NULL", (streams.keys.prefix,))
    streams.tie_installation(own_id, replace=False)
    reject_other_installation(connection, streams)  # another process may have been faster


def adopt(connection: Connection, streams: Streams) -> tuple[str, str]:
    """Tie the database and the keys under the prefix, whatever they belonged to; returns the id and the prefix.

    Raises UsageError while supervisors with this prefix are alive: they may work for the other installation.
    """
    if alive := streams.inspector.read_heartbeats():
        raise UsageError(
            f"{len(alive)} supervisors with the key prefix {streams.keys.prefix!r} are alive, such as {min(alive)}:"
            " stop them first"
        )
    connection.execute("UPDATE installation SET key_prefix = %s", (streams.keys.prefix,))
    own_id, own_prefix = _read(connection)
    streams.tie_installation(own_id, replace=True)
    return own_id, str(own_prefix)


def _read(connection: Connection) -> tuple[str, str | None]:
    row = connection.execute("SELECT id::text, key_prefix FROM installation").fetchone()
    assert row is not None
    return row
