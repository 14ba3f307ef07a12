"""Seals: what was recorded cannot be changed without being found."""

import pytest

from streamworkers.actor import LOCAL
from streamworkers.audit.record import AuditChange, hide_secret_fields, record_change
from streamworkers.audit.seals import seal_ended, verify
from streamworkers.database import Connection, connect

_FORGED = (
    "INSERT INTO audit_log (transaction, actor_kind, actor_user, action, object_type, object_id, outcome)"
    " SELECT transaction, 'cli', 'x', 'y', 'z', '1', 'ok' FROM audit_log WHERE object_id = '2'"
)


def _record(connection: Connection, *names: str) -> None:
    for name in names:
        record_change(connection, LOCAL, AuditChange("run.cancel", "run", name, after={"n": name}))


def _seal_all(connection: Connection) -> int:
    total = 0
    while seal := seal_ended(connection):
        total += seal.rows
    return total


def test_a_chain_over_all_rows_holds(connection: Connection) -> None:
    _record(connection, "1", "2")
    assert _seal_all(connection) == 2
    _record(connection, "3")
    assert _seal_all(connection) == 1
    assert seal_ended(connection) is None
    _record(connection, "4")
    verdict = verify(connection)
    assert (verdict.seals, verdict.rows, verdict.unsealed, verdict.troubles) == (2, 3, 1, ())


def test_a_row_that_is_committed_late_is_sealed_though_its_id_is_small(
    connection: Connection, database_url: str
) -> None:
    with connect(database_url) as late:
        late.execute("BEGIN")
        _record(late, "late")
        _record(connection, "early")
        assert _seal_all(connection) == 0  # nothing above the oldest transaction in flight
        late.execute("COMMIT")
    assert _seal_all(connection) == 2
    assert verify(connection).troubles == ()


@pytest.mark.parametrize(
    ("damage", "trouble"),
    [
        ("UPDATE audit_log SET actor_user = 'eve' WHERE object_id = '2'", "one of its 1 rows was changed"),
        ("UPDATE audit_log SET at = at + interval '1 us' WHERE object_id = '2'", "one of its 1 rows was changed"),
        ("DELETE FROM audit_log WHERE object_id = '2'", "is over 1 rows, and there are 0"),
        (
            _FORGED,
            "is over 1 rows, and there are 2",
        ),
        ("DELETE FROM audit_seals WHERE id = 2", "does not continue the seal before it"),
        ("UPDATE audit_seals SET sha256 = sha256('x') WHERE id = 2", "does not continue the seal before it"),
    ],
)
def test_each_change_is_found(connection: Connection, damage: str, trouble: str) -> None:
    for name in ("1", "2", "3"):
        _record(connection, name)
        assert _seal_all(connection) == 1
    assert verify(connection).troubles == ()
    connection.execute(damage)
    assert any(trouble in found for found in verify(connection).troubles)


def test_a_chain_is_continued_by_one_process(connection: Connection, database_url: str) -> None:
    _record(connection, "1")
    with connect(database_url) as other:
        other.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        assert seal_ended(other) is not None
        other.execute("COMMIT")
        assert seal_ended(connection) is None
    assert verify(connection).seals == 1


def test_values_of_fields_that_mean_a_secret_are_not_kept() -> None:
    fields = {"user": "ann", "api_key": "x", "settings": [{"Password": "y", "token": None}]}
    assert hide_secret_fields(fields) == {"user": "ann", "api_key": "…", "settings": [{"Password": "…", "token": None}]}
