"""Entries that were found in a queue and are no items of ours: kept with their bytes, until somebody has looked."""

from collections.abc import Sequence

from streamworkers.database import Connection
from streamworkers.engine.outcome import printable
from streamworkers.engine.redis.queue import Delivery

REJECTED_BYTES = 1 << 20


def keep_rejected(connection: Connection, queue: str, deliveries: Sequence[Delivery], reason: str) -> None:
    """Keep what was found in a queue and is no item of ours: at most the first `REJECTED_BYTES` of each."""
    connection.execute(
        "INSERT INTO rejected_entries (queue, entry_id, reason, size, payload)"
        " SELECT %b, d.entry_id, %b, d.size, d.payload"
        " FROM unnest(%b::text[], %b::int[], %b::bytea[]) AS d(entry_id, size, payload)",
        (
            queue,
            printable(reason),
            [delivery.entry_id for delivery in deliveries],
            [len(delivery.packed) for delivery in deliveries],
            [delivery.packed[:REJECTED_BYTES] for delivery in deliveries],
        ),
    )


def forget_rejected(connection: Connection, keep: int) -> int:
    """Drop all but the newest `keep` rejected entries; returns how many."""
    return connection.execute(
        "DELETE FROM rejected_entries WHERE id <= (SELECT max(id) FROM rejected_entries) - %s", (keep,)
    ).rowcount


def purge_rejected(connection: Connection, ids: Sequence[int] | None) -> int:
    """Delete rejected entries, all when `ids` is None; returns how many."""
    return connection.execute(
        "DELETE FROM rejected_entries WHERE %b::bigint[] IS NULL OR id = ANY(%b)",
        (ids and list(ids), ids and list(ids)),
    ).rowcount
