"""Every command says at its start that it cannot use a pooler which keeps no sessions."""

from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from command_line import Run
from pgbouncer import running_pgbouncer
from streamworkers.errors import UsageError


@pytest.fixture
def transactions_url(database_url: str) -> Iterator[str]:
    """The test's database through a PgBouncer that pools by transaction."""
    login = str(conninfo_to_dict(database_url)["user"])
    try:
        with running_pgbouncer(database_url, {login: "secret"}, auth_type="trust", pool_mode="transaction") as url:
            yield url
    except UsageError as error:
        pytest.skip(str(error))


def test_a_command_rejects_a_pooler_that_keeps_no_sessions(
    cli: Run, transactions_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMWORKERS_DATABASE_URL", transactions_url)
    for words in (["migrate"], ["worker"], ["scheduler"], ["doctor"], ["status"], ["runs", "list"]):
        answer = cli(*words)
        assert (answer.code, answer.out) == (2, ""), words
        assert answer.err == (
            "Error: the pooler in front of PostgreSQL gives connections a session for one transaction or statement"
            " only: set its pool_mode to session, or connect directly\n"
        )
