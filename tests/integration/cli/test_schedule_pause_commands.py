"""`schedules pause --all` and `resume --all`."""

import pytest

from command_line import Run
from streamworkers.database import Connection


def _add(cli: Run, *names: str) -> None:
    for name in names:
        answer = cli("schedules", "add", name, "--job", "noop", "--symbols", "A", "--cron", "@daily")
        assert answer.code == 0, answer.err


def _enabled(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT name FROM schedules WHERE enabled AND next_run_at > now() ORDER BY name")
    return [name for (name,) in rows]


def test_resuming_all_brings_back_what_was_paused_with_all(cli: Run, connection: Connection) -> None:
    _add(cli, "a", "b", "before", "during", "edited")
    cli("schedules", "pause", "before")
    assert cli("schedules", "pause", "--all").out == "4 schedules paused\n"
    assert _enabled(connection) == []
    assert cli("schedules", "pause", "--all", "--json").json == {"paused": []}
    cli("schedules", "pause", "during")
    cli("schedules", "edit", "edited", "--max-instances", "2")
    lines = cli("schedules", "list").out.splitlines()
    assert [line.split("@daily", 1)[1].strip() for line in lines[1:]] == [
        "paused with all",
        "paused with all",
        "paused",
        "paused",
        "paused with all",
    ]
    answer = cli("schedules", "resume", "--all")
    assert answer.out == "3 schedules resumed\n"
    assert answer.err == "still paused, because each was paused by its name: before, during\n"
    assert _enabled(connection) == ["a", "b", "edited"]
    assert cli("schedules", "resume", "--all", "--json").json == {"resumed": [], "paused": ["before", "during"]}
    actions = connection.execute(
        "SELECT action, count(*)::int FROM audit_log WHERE action LIKE 'schedule.%e' AND object_id IN ('a', 'before')"
        " GROUP BY action ORDER BY action"
    ).fetchall()
    assert actions == [("schedule.create", 2), ("schedule.pause", 2), ("schedule.resume", 1)]


def test_one_that_was_resumed_by_its_name_and_paused_again_is_not_resumed_with_all(
    cli: Run, connection: Connection
) -> None:
    _add(cli, "a", "sql")
    cli("schedules", "pause", "--all")
    cli("schedules", "resume", "a")
    cli("schedules", "pause", "a")
    connection.execute("UPDATE schedules SET enabled = true WHERE name = 'sql'")
    connection.execute("UPDATE schedules SET enabled = false WHERE name = 'sql'")
    assert cli("schedules", "resume", "--all", "--json").json == {"resumed": [], "paused": ["a", "sql"]}
    assert _enabled(connection) == []


@pytest.mark.parametrize("words", [("pause",), ("resume",), ("pause", "a", "--all"), ("resume", "a", "--all")])
def test_either_a_name_or_all(words: tuple[str, ...], cli: Run) -> None:
    answer = cli("schedules", *words)
    assert (answer.code, answer.err) == (2, "Error: name one schedule, or give --all\n")
