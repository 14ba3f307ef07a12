"""Processes of a pool start only where they belong."""

import pytest

from command_line import Run
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams


def test_a_process_does_not_start_on_the_database_of_another_pool(
    cli: Run, connection: Connection, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute("UPDATE installation SET key_prefix = 'another'")
    for words in (["worker"], ["scheduler", "--once"], ["doctor"]):
        answer = cli(*words)
        assert (answer.code, answer.out) == (2, ""), words
        assert "this database belongs to the pool whose keys begin with 'another'" in answer.err
    adopted = cli("adopt")
    assert (adopted.code, adopted.err) == (0, "")
    assert adopted.out.endswith(f"has the keys that begin with {streams.keys.prefix!r}\n")
    assert cli("doctor").code == 1
