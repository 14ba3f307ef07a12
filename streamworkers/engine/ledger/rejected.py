"""The table `rejected_entries`: entries found in a queue that belong to no item, kept with their bytes for people."""

from collections.abc import Sequence

from streamworkers.database import Connection
from streamworkers.engine.redis.queue import Delivery
from streamworkers.faults import printable

MOST_BYTES_KEPT = 1 << 20


def keep_rejected(connection: Connection, queue: str, deliveries: Sequence[Delivery], reason: str) -> None:
    """Keep entries of a queue that belong to no item: at most the first `MOST_BYTES_KEPT` bytes of each."""
    connection.execute(
        """
        INSERT INTO rejected_entries (queue, entry_id, reason, size, payload)
        SELECT %b, d.entry_id, %b, d.size, d.payload
        FROM unnest(%b::text[], %b::int[], %b::bytea[]) AS d(entry_id, size, payload)
        """,
        (
            queue,
            printable(reason),
            [delivery.entry_id for delivery in deliveries],
            [len(delivery.packed) for delivery in deliveries],
            [delivery.packed[:MOST_BYTES_KEPT] for delivery in deliveries],
        ),
    )


def delete_old_rejected(connection: Connection, keep: int) -> int:
    """Delete all but the newest `keep` rejected entries; returns how many were deleted."""
    return connection.execute(
        "DELETE FROM rejected_entries WHERE id <= (SELECT max(id) FROM rejected_entries) - %s", (keep,)
    ).rowcount


def purge_rejected(connection: Connection, ids: Sequence[int] | None) -> int:
    """Delete rejected entries, all if `ids` is None; returns how many were deleted."""
    return connection.execute(
        "DELETE FROM rejected_entries WHERE %b::bigint[] IS NULL OR id = ANY(%b)",
        (ids and list(ids), ids and list(ids)),
    ).rowcount
