"""Commands leave the rows in the audit log that the HTTP API leaves, rejected ones too."""

from typing import Any

import click
import pytest

from command_line import Run
from streamworkers.cli.main import cli as commands
from streamworkers.cli.rejections import ACTIONS
from streamworkers.database import Connection


def _rows(connection: Connection, action: str) -> list[tuple[Any, ...]]:
    statement = "SELECT actor_kind, actor_user, object_id, outcome, coalesce(after, before), reason FROM audit_log"
    return connection.execute(f"{statement} WHERE action = %s ORDER BY id".encode(), (action,)).fetchall()


def test_an_enqueue_has_a_row_in_the_transaction_of_its_run(connection: Connection, cli: Run) -> None:
    words = ("enqueue", "ledger_entry", "--symbols", "A", "--key", "k", "--json")
    runs = [cli(*words).json["run_id"] for _ in range(2)]
    rows = _rows(connection, "run.submit")
    assert [row[:4] for row in rows] == [("cli", "local", str(run), "ok") for run in runs]
    assert [row[4] for row in rows] == [{"job": "ledger_entry", "is_new": is_new} for is_new in (True, False)]
    same = "SELECT a.transaction = r.transaction FROM audit_log a, runs r WHERE a.action = 'run.submit' ORDER BY a.id"
    assert [each for (each,) in connection.execute(same)] == [True, False]


@pytest.mark.parametrize(
    ("words", "action", "about", "reason"),
    [
        (("enqueue", "ledger_entry", "--universe", "no"), "run.submit", "ledger_entry", "no universe is named 'no'"),
        (("load", "--symbols", "A B"), "run.submit", "", "the symbol 'A B'"),
        (("runs", "cancel", "99"), "run.cancel", "99", "no run is named '99'"),
        (("tokens", "revoke", "99"), "token.revoke", "99", "no token is named '99'"),
        (("schedules", "pause", "none"), "schedule.pause", "none", "no schedule is named 'none'"),
        (("endpoints", "off", "x", "--user", "ann"), "endpoint.off", "x", "no endpoint is named 'x'"),
    ],
)
def test_a_rejected_command_has_a_row(
    connection: Connection, cli: Run, words: tuple[str, ...], action: str, about: str, reason: str
) -> None:
    connection.execute("INSERT INTO users (id) VALUES ('ann') ON CONFLICT DO NOTHING")
    assert cli(*words).code == 2
    ((kind, user, found, outcome, _, why),) = _rows(connection, action)
    assert (kind, user, found, outcome) == ("cli", "ann" if "--user" in words else "local", about, "rejected")
    assert reason in why


def test_a_rejected_command_that_reads_has_no_row(connection: Connection, cli: Run) -> None:
    assert cli("runs", "show", "99").code == 2
    assert connection.execute("SELECT count(*) FROM audit_log").fetchone() == (0,)


@pytest.mark.parametrize("path", ACTIONS)
def test_every_action_is_of_a_command(path: str) -> None:
    command: click.Command | None = commands
    for word in path.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word)
    assert command is not None
