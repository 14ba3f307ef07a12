"""A walk over all runs misses none and shows none twice, in whatever order their transactions commit."""

from collections.abc import Iterator
from typing import Any

import pytest

from harness import wait_until
from streamworkers.database import Connection, connect
from streamworkers.engine.ledger import run_export
from streamworkers.engine.ledger.run_export import RunWalk, WalkPlace, forget_transactions, walk_runs
from streamworkers.engine.ledger.run_pages import RunFilter
from streamworkers.errors import BadInputError, BlockedError

_ADD = """
    INSERT INTO runs (job, queue, target, item_count, max_attempts, status, requested_by)
    VALUES (%s, 'tests', 'x', 0, 1, %s, %s) RETURNING id
"""


def _add(connection: Connection, job: str = "noop", status: str = "COMPLETED", user: str | None = None) -> int:
    row = connection.execute(_ADD, (job, status, user)).fetchone()
    assert row is not None
    return int(row[0])


def _page(connection: Connection, place: WalkPlace | None = None, limit: int = 100, **wanted: Any) -> RunWalk:
    return walk_runs(connection, wanted.pop("viewer", None), RunFilter(**wanted), place, limit)


def _ids(walk: RunWalk) -> list[int]:
    return [row["id"] for row in walk.rows]


def _walk_on(connection: Connection, place: WalkPlace | None = None, limit: int = 100, **wanted: Any) -> list[int]:
    """What a walk shows to its end; whatever PostgreSQL itself has in flight holds it up for a moment only."""
    seen: list[int] = []

    def go_on() -> bool:
        nonlocal place
        while True:
            walk = _page(connection, place, limit, **wanted)
            seen.extend(_ids(walk))
            place = walk.place
            if place is None or walk.is_held_up:
                return place is None

    wait_until(go_on, what="the walk is over")
    return seen


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """A second session, in a transaction that it has not ended."""
    with connect(database_url, application="test") as opened:
        opened.execute("BEGIN")
        yield opened
        opened.execute("ROLLBACK")


def test_a_walk_waits_for_a_transaction_in_flight_and_then_shows_its_run(
    connection: Connection, other: Connection
) -> None:
    first = _add(connection)
    late = _add(other)  # it has its number, and nobody sees it
    behind = _add(connection)
    wait_until(lambda: _ids(_page(connection)) == [first], what="nothing else is in flight")
    walk = _page(connection)
    assert _ids(walk) == [first]
    assert walk.is_held_up
    assert walk.place is not None
    assert _page(connection, walk.place) == ([], walk.place, walk.began_at, True)
    other.execute("COMMIT")
    after = _add(connection)
    assert _page(connection, walk.place).began_at == walk.began_at
    assert _walk_on(connection, walk.place) == [late, behind]
    assert _walk_on(connection) == [first, late, behind, after]


def test_without_the_stop_below_it_the_run_is_missed(
    connection: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_that_began(connection: Connection) -> Any:
        _, following, now = read_bounds(connection)
        return following, following, now

    read_bounds = run_export._read_bounds
    monkeypatch.setattr(run_export, "_read_bounds", all_that_began)
    _add(other)
    behind = _add(connection)
    walk = _page(connection)
    other.execute("COMMIT")
    assert (_ids(walk), walk.place) == ([behind], None)


def test_an_older_transaction_that_adds_later_is_in_its_place(connection: Connection, other: Connection) -> None:
    other.execute("SELECT pg_current_xact_id()")
    first = _add(connection)
    late = _add(other)  # a greater number of a smaller transaction
    other.execute("COMMIT")
    assert _walk_on(connection) == [late, first]


def test_pages_of_one_show_each_run_once_and_filters_choose(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("INSERT INTO users (id) VALUES ('ann'), ('bob') ON CONFLICT DO NOTHING")
    users = ("ann", None, "bob", None, "ann", "bob")
    with connection.transaction():
        runs = [_add(connection, f"job{number % 2}", "FAILED", user) for number, user in enumerate(users)]
    for scanned in (10_000, 2, 1):
        monkeypatch.setattr(run_export, "MOST_SCANNED", scanned)
        assert _walk_on(connection, limit=1) == runs
        assert _walk_on(connection, limit=1, job="job1") == runs[1::2]
        assert _walk_on(connection, limit=1, status="COMPLETED") == []
        assert _walk_on(connection, limit=4, viewer="ann") == [runs[place] for place in (0, 1, 3, 4)]


def test_runs_from_another_server_are_walked_over_once_a_process_has_started(connection: Connection) -> None:
    run = _add(connection)
    connection.execute("UPDATE runs SET transaction = '9000000000000000' WHERE id = %s", (run,))
    with pytest.raises(BlockedError, match="the runs were copied from another server: start any process of the pool"):
        _page(connection)
    assert [forget_transactions(connection) for _ in range(2)] == [1, 0]
    assert _walk_on(connection) == [run]


def test_a_place_is_four_numbers(connection: Connection) -> None:
    place = WalkPlace(5, 6, 7, _page(connection).began_at)
    assert WalkPlace.from_numbers(place.to_numbers()) == place
    with pytest.raises(BadInputError, match="a walk cannot have begun 999999999999999999 µs after 1970"):
        WalkPlace.from_numbers((1, 2, 3, 999_999_999_999_999_999))
