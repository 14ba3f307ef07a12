"""Saved progress of loads: pages of items that are snoozed, and answers that all items of a run share."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime
from io import SEEK_END
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import NamedTuple

import psycopg
from psycopg.types.json import Jsonb

from streamworkers.database import count_matching, delete_matching

_SHARED_LOCKS = 0x5359  # any fixed number: the class of our advisory locks
_MEMORY_BYTES = 1 << 16
_TABLE, _OLD = "load_checkpoints", "fetched_at < %s"


class CheckpointPage(NamedTuple):
    """A page of a provider: its packed bars, the cursor of the next page, rule and message of each rejected bar."""

    packed: bytes
    cursor: str | None = None
    rejected: Sequence[tuple[str, str]] = ()


class CheckpointPages(Collection[CheckpointPage]):
    """Pages in order, whose bars are in an unnamed file, so that memory does not grow with them."""

    def __init__(self, pages: Iterable[CheckpointPage] = ()) -> None:
        self._file = SpooledTemporaryFile(max_size=_MEMORY_BYTES)  # noqa: SIM115  # closed with the object
        self._pages: list[tuple[int, int, CheckpointPage]] = []
        for page in pages:
            self.append(page)

    def append(self, page: CheckpointPage) -> None:
        """Append a page to those that are kept."""
        place = self._file.seek(0, SEEK_END)
        self._file.write(page.packed)
        self._pages.append((place, len(page.packed), page._replace(packed=b"")))

    def __iter__(self) -> Iterator[CheckpointPage]:
        for place, length, page in self._pages:
            self._file.seek(place)
            yield page._replace(packed=self._file.read(length))

    def __len__(self) -> int:
        return len(self._pages)

    def __contains__(self, page: object) -> bool:
        return any(page == one for one in self)

    def __del__(self) -> None:
        self._file.close()


def read_checkpoint(
    connection: psycopg.Connection, run_id: int, keys: Sequence[str], since: datetime
) -> dict[str, CheckpointPages]:
    """Return the pages of each key that were saved since a moment, from the first page on without a gap."""
    found: dict[str, CheckpointPages] = {}
    # One row at a time: twenty years of minutes are forty pages of a megabyte.
    for key, page, packed, cursor, rejected in connection.cursor().stream(
        "SELECT key, page, packed, cursor, rejected FROM load_checkpoints WHERE run_id = %s AND key = ANY(%s)"
        " AND fetched_at >= %s ORDER BY key, page",
        (run_id, list(keys), since),
    ):
        pages = found.setdefault(key, CheckpointPages())
        if page == len(pages):
            pages.append(CheckpointPage(bytes(packed), cursor, [(rule, detail) for rule, detail in rejected]))
    return found


def read_notes(connection: psycopg.Connection, run_id: int, prefix: str) -> dict[str, bytes]:
    """Return what is kept of a run under keys with a prefix, whenever it was written."""
    rows = connection.execute(
        "SELECT key, packed FROM load_checkpoints WHERE run_id = %s AND starts_with(key, %s)", (run_id, prefix)
    )
    return {key: bytes(packed) for key, packed in rows}


def write_checkpoint(connection: psycopg.Connection, run_id: int, key: str, pages: Iterable[CheckpointPage]) -> None:
    """Save the pages of a key, replacing those saved before."""
    with connection.transaction():
        delete_checkpoints(connection, run_id, [key])
        for number, page in enumerate(pages):
            connection.execute(
                "INSERT INTO load_checkpoints (run_id, key, page, packed, cursor, rejected)"
                " VALUES (%s, %s, %s, %s, %s, %s)",
                (run_id, key, number, page.packed, page.cursor, Jsonb(list(page.rejected))),
            )


def delete_checkpoints(connection: psycopg.Connection, run_id: int, keys: Sequence[str]) -> None:
    """Delete the pages of these keys, whose bars are stored now."""
    connection.execute("DELETE FROM load_checkpoints WHERE run_id = %s AND key = ANY(%s)", (run_id, list(keys)))


def fetch_shared(
    connection: psycopg.Connection,
    run_id: int,
    key: str,
    since: datetime,
    fetch: Callable[[], bytes],
    waits: Iterable[None] = (),
) -> bytes | None:
    """Return an answer that all items of a run share, fetching it once; None while another worker fetches it.

    `waits` pauses with each step while that lasts, and ends when it has lasted too long.
    """
    lock = (_SHARED_LOCKS, f"{run_id}:{key}")
    for _ in chain((None,), waits):
        found = read_checkpoint(connection, run_id, [key], since)
        if key in found:
            return next(iter(found[key])).packed
        row = connection.execute("SELECT pg_try_advisory_lock(%s, hashtext(%s))", lock).fetchone()
        if row == (True,):
            break
    else:
        return None
    try:
        # Another worker may have fetched it between the first read and the lock.
        found = read_checkpoint(connection, run_id, [key], since)
        if key in found:
            return next(iter(found[key])).packed
        packed = fetch()
        write_checkpoint(connection, run_id, key, [CheckpointPage(packed)])
        return packed
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s, hashtext(%s))", lock)


def count_old_checkpoints(connection: psycopg.Connection, before: datetime) -> int:
    """The number of pages that were fetched before a moment."""
    return count_matching(connection, _TABLE, _OLD, (before,))


def delete_old_checkpoints(connection: psycopg.Connection, before: datetime, limit: int) -> int:
    """Delete up to `limit` pages that were fetched before a moment; returns how many were deleted."""
    return delete_matching(connection, _TABLE, _OLD, (before,), limit)
