"""Seals over the audit log: a chain of digests, each over all rows of transactions that had ended.

A transaction's number says whether it had ended when a seal was made, and rows of ended transactions never change by
themselves. So a seal covers an exact set of rows, however late a row with a small id was committed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamworkers.database import Connection, fetch_value

# One text for each row, of every column but those that PostgreSQL keeps for itself.
_DIGEST = """
    SELECT count(*), sha256(convert_to(coalesce(string_agg(jsonb_build_array(
        id, extract(epoch FROM at), transaction::text, actor_kind, actor_user, actor_token, host(address), request_id,
        action, object_type, object_id, before, after, outcome, reason)::text, E'\\n' ORDER BY id), ''), 'UTF8'))
    FROM audit_log
    WHERE cluster = %(cluster)s AND transaction >= %(first)s::xid8 AND transaction < %(end)s::xid8
"""
_NEWEST = "SELECT sha256, cluster, to_transaction::text FROM audit_seals ORDER BY id DESC LIMIT 1"
_ADD = """
    INSERT INTO audit_seals (cluster, from_transaction, to_transaction, row_count, sha256, previous)
    VALUES (%s, %s::xid8, %s::xid8, %s, sha256(coalesce(%s, ''::bytea) || %s::bytea), %s)
    ON CONFLICT DO NOTHING RETURNING sha256
"""
# The end of a seal: below every transaction in flight, and after the one in which the number of rows is reached.
_END = """
    SELECT least(
        (SELECT transaction FROM audit_log WHERE cluster = %(cluster)s AND transaction > (
            SELECT transaction FROM audit_log WHERE cluster = %(cluster)s AND transaction >= %(first)s::xid8
            ORDER BY transaction OFFSET %(most)s LIMIT 1) ORDER BY transaction LIMIT 1),
        pg_snapshot_xmin(pg_current_snapshot()))::text
"""
_OLDEST = """
    SELECT at, extract(epoch FROM clock_timestamp() - at)::float8,
        transaction >= pg_snapshot_xmin(pg_current_snapshot())
    FROM audit_log WHERE cluster = %(cluster)s AND transaction >= %(first)s::xid8 ORDER BY transaction LIMIT 1
"""
_HOLDER = """
    SELECT name, owner, program, since FROM (
        SELECT 'session ' || pid AS name, usename::text AS owner, application_name AS program, xact_start AS since,
            age(backend_xid) AS age
        FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
        UNION ALL
        SELECT 'prepared transaction ' || quote_literal(gid), owner::text, '', prepared, age(transaction)
        FROM pg_prepared_xacts
    ) AS open ORDER BY age DESC LIMIT 1
"""
_CLUSTER = "SELECT system_identifier FROM pg_control_system()"
_SEALS = """
    SELECT id, cluster, from_transaction::text, to_transaction::text, row_count, sha256, previous, sealed_at
    FROM audit_seals"""
_SEALS_DOWN = f"{_SEALS} ORDER BY id DESC LIMIT %s"
MOST_ROWS = 10_000
MOST_VERIFIED = 50_000


@dataclass(frozen=True, slots=True)
class Seal:
    """A new link of the chain, and over how many rows."""

    digest: str
    rows: int


def seal_ended(connection: Connection) -> Seal | None:
    """Seal the rows of transactions that have ended, up to about 10,000; None if there are none, or another was faster.

    Rows of a cluster from which this one was restored are not sealed again: they are sealed there, or not at all.
    """
    with connection.transaction():
        cluster = fetch_value(connection, _CLUSTER)
        previous, first = _read_end(connection, cluster)
        words = {"cluster": cluster, "first": first}
        end = fetch_value(connection, _END, words | {"most": MOST_ROWS})
        row = connection.execute(_DIGEST, words | {"end": end}).fetchone()
        assert row is not None
        count, digest = row
        if not count:
            return None
        added = fetch_value(connection, _ADD, (cluster, first, end, count, previous, digest, previous))
    return None if added is None else Seal(added.hex(), count)


@dataclass(frozen=True, slots=True)
class Unsealed:
    """The oldest row that no seal is over, and for how many seconds; `is_held` if a transaction in flight is why."""

    at: datetime
    seconds: float
    is_held: bool


@dataclass(frozen=True, slots=True)
class SealHolder:
    """The oldest transaction that has written and not ended: nothing from it on is sealed."""

    name: str
    owner: str
    program: str
    since: datetime | None  # hidden from who may not see that


def find_unsealed(connection: Connection) -> Unsealed | None:
    """Return the oldest row without a seal; None if there is none. Reads one row of the log."""
    cluster = fetch_value(connection, _CLUSTER)
    _, first = _read_end(connection, cluster)
    row = connection.execute(_OLDEST, {"cluster": cluster, "first": first}).fetchone()
    return None if row is None else Unsealed(*row)


def find_holder(connection: Connection) -> SealHolder | None:
    """Return the transaction that holds sealing up; None if none is in flight."""
    row = connection.execute(_HOLDER).fetchone()
    return None if row is None else SealHolder(*row)


def _read_end(connection: Connection, cluster: int) -> tuple[bytes | None, str]:
    """The digest of the newest seal, and the transaction with which the next one begins."""
    newest = connection.execute(_NEWEST).fetchone()
    if newest is None:
        return None, "0"
    digest, of_cluster, end = newest
    return digest, end if of_cluster == cluster else "0"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comparing the log with its seals has found; `troubles` is empty if all is as it was sealed."""

    seals: int
    rows: int
    unsealed: int
    newest: str | None
    troubles: tuple[str, ...]


def verify(connection: Connection) -> Verdict:
    """Compute every seal again, in one snapshot. Takes as long as reading the whole log."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        seals = connection.execute(f"{_SEALS} ORDER BY id").fetchall()
        total = fetch_value(connection, "SELECT count(*) FROM audit_log")
        troubles = tuple(_find_troubles(connection, seals))
    sealed = sum(row[4] for row in seals)
    return Verdict(len(seals), sealed, max(0, total - sealed), seals[-1][5].hex() if seals else None, troubles)


@dataclass(frozen=True, slots=True)
class PartVerdict:
    """What comparing the newest seals with their rows has found."""

    seals: int
    rows: int
    newest: str | None
    troubles: tuple[str, ...]


def verify_newest(connection: Connection, most: int) -> PartVerdict:
    """Compute the newest seals again: up to `most`, and no more of them when `MOST_VERIFIED` rows are reached.

    Rows under a seal never change, so that this needs no snapshot of its own. What is older is not looked at.
    """
    seals = connection.execute(_SEALS_DOWN, (most + 1,)).fetchall()
    chosen: list[tuple[Any, ...]] = []
    rows = 0
    for seal in seals[:most]:
        if chosen and rows + seal[4] > MOST_VERIFIED:
            break
        chosen.append(seal)
        rows += seal[4]
    older = seals[len(chosen)] if len(seals) > len(chosen) else None
    before = None if older is None else older[5]
    troubles = tuple(_find_troubles(connection, chosen[::-1], before))
    return PartVerdict(len(chosen), rows, chosen[0][5].hex() if chosen else None, troubles)


def _find_troubles(
    connection: Connection, seals: list[tuple[object, ...]], before: bytes | None = None
) -> Iterator[str]:
    for number, cluster, first, end, count, digest, previous, sealed_at in seals:
        assert isinstance(sealed_at, datetime)
        name = f"seal {number} of {sealed_at.isoformat(timespec='seconds')}"
        if previous != before:
            yield f"{name} does not continue the seal before it: a seal was changed or removed"
        row = connection.execute(_DIGEST, {"cluster": cluster, "first": first, "end": end}).fetchone()
        assert row is not None
        if row[0] != count:
            yield f"{name} is over {count} rows, and there are {row[0]}"
        elif fetch_value(connection, "SELECT sha256(coalesce(%s, ''::bytea) || %s)", (previous, row[1])) != digest:
            yield f"{name}: one of its {count} rows was changed"
        assert isinstance(digest, bytes)
        before = digest
