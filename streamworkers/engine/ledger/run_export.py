"""A walk over all runs that were there when it began, in the order of their transactions. Reads only.

A sequence gives numbers before transactions commit: behind a run that is seen, one with a smaller number may appear.
So a walk goes by transaction and number, and stops below the oldest transaction in flight, where nothing can appear
any more. It has ended when it has passed every transaction that had begun before it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from streamworkers.database import Connection, fetch_rows
from streamworkers.engine.ledger.run_pages import Row, RunFilter, choose_runs
from streamworkers.errors import BadInputError, BlockedError

# Of so many runs in a row a page shows those that match, so that it is not long in coming where few do.
MOST_SCANNED = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A run that is seen, of a transaction that has not begun yet, is from another server.
_COPIED = "transaction >= pg_snapshot_xmax(pg_current_snapshot())"
_BOUNDS = f"""
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
        statement_timestamp(), EXISTS (SELECT FROM runs WHERE {_COPIED})
"""  # noqa: S608  # constants
_FORGET = f"UPDATE runs SET transaction = '0' WHERE {_COPIED}"  # noqa: S608
# Where statistics are old, PostgreSQL would rather sort all that is left of the walk for each page.
_KEEP_TO_INDEX = """
    SELECT set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true),
        set_config('enable_seqscan', 'off', true)
"""
_NEXT = """
    FROM runs WHERE (transaction, id) > (%(transaction)s::text::xid8, %(id)s) AND transaction < %(bound)s::text::xid8
    ORDER BY transaction, id"""
_SCANNED = f"(SELECT * {_NEXT} LIMIT %(most)s) AS"
_LAST_SCANNED = f"SELECT transaction::text::bigint, id {_NEXT} OFFSET %(most)s - 1 LIMIT 1"


class WalkPlace(NamedTuple):
    """Where a page of a walk ends: behind a run, of a walk over what had begun before the transaction `until`."""

    transaction: int
    id: int
    until: int
    began_at: datetime

    @classmethod
    def from_numbers(cls, numbers: Sequence[int]) -> "WalkPlace":
        """Read it from the numbers of a cursor. Raises BadInputError for numbers that are none."""
        transaction, number, until, microseconds = numbers
        try:
            return cls(transaction, number, until, _EPOCH + timedelta(microseconds=microseconds))
        except OverflowError:
            raise BadInputError(f"a walk cannot have begun {microseconds} µs after 1970") from None

    def to_numbers(self) -> tuple[int, int, int, int]:
        """Return it as the numbers of a cursor."""
        return self.transaction, self.id, self.until, (self.began_at - _EPOCH) // timedelta(microseconds=1)


class RunWalk(NamedTuple):
    """A page of a walk; `place` is where the next one begins, None at the end.

    `is_held_up` says that a transaction in flight has to end before there is more.
    """

    rows: list[Row]
    place: WalkPlace | None
    began_at: datetime
    is_held_up: bool


def walk_runs(
    connection: Connection, viewer: str | None, wanted: RunFilter, place: WalkPlace | None, limit: int
) -> RunWalk:
    """Return the next runs of a walk that match and that a user may see; None sees all, and begins a walk.

    Raises BlockedError if the database is a copy that no process has started on yet.
    """
    with connection.transaction():
        oldest, following, now = _read_bounds(connection)
        place = place or WalkPlace(0, 0, following, now)
        bound = min(oldest, place.until)
        words = {"transaction": str(place.transaction), "id": place.id, "bound": str(bound), "most": MOST_SCANNED}
        connection.execute(_KEEP_TO_INDEX)
        statement, values = choose_runs(viewer, wanted, source=_SCANNED, more=", r.transaction::text::bigint AS place")
        ordered = f"{statement} ORDER BY r.transaction, r.id LIMIT %(limit)s"
        rows = fetch_rows(connection, ordered, {**values, **words, "limit": limit})
        scanned = None if len(rows) == limit else connection.execute(_LAST_SCANNED, words).fetchone()
    places = [(row.pop("place"), row["id"]) for row in rows]
    is_at_bound = len(rows) < limit and scanned is None
    if is_at_bound and bound == place.until:
        return RunWalk(rows, None, place.began_at, False)
    transaction, number = scanned or (places[-1] if places else place[:2])
    return RunWalk(rows, WalkPlace(transaction, number, place.until, place.began_at), place.began_at, is_at_bound)


def forget_transactions(connection: Connection) -> int:
    """Let runs count as oldest whose transactions this server cannot know: they were copied from another one."""
    _, _, _, is_copy = _select_bounds(connection)
    return connection.execute(_FORGET).rowcount if is_copy else 0


def _select_bounds(connection: Connection) -> tuple[int, int, datetime, bool]:
    row = connection.execute(_BOUNDS).fetchone()
    assert row is not None
    oldest, following, now, is_copy = row
    return oldest, following, now, is_copy


def _read_bounds(connection: Connection) -> tuple[int, int, datetime]:
    oldest, following, now, is_copy = _select_bounds(connection)
    if is_copy:
        raise BlockedError("the runs were copied from another server: start any process of the pool, and try again")
    return oldest, following, now
