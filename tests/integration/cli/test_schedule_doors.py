"""What is wrong with a schedule is said at the door, and of those that are stored by every look at them."""

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
import yaml

from command_line import Run
from streamworkers.database import Connection
from streamworkers.market.universes.store import add_symbols

_NOOP = ("--job", "noop", "--symbols", "A,B", "--cron", "0 12 * * *")


def _add(cli: Run, name: str, *words: str, of: Sequence[str] = _NOOP) -> str:
    answer = cli("schedules", "add", name, *of, *words)
    assert answer.code == 0, answer.err
    return answer.err


def _problems(cli: Run) -> dict[str, str]:
    return {row["name"]: row["problem"] for row in cli("schedules", "list", "--json").json if row["problem"]}


def test_an_unknown_universe_is_rejected_at_every_door_with_the_nearest(
    cli: Run, connection: Connection, tmp_path: Path
) -> None:
    for universe in ("sp500", "nasdaq100"):
        add_symbols(connection, universe, ["A"])
    unknown = "Error: no universe is named 'nasdaq10'; did you mean 'nasdaq100'?\n"
    of = ("--job", "noop", "--cron", "@daily")
    answer = cli("schedules", "add", "x", *of, "--universe", "sp500:nasdaq10")
    assert (answer.code, answer.err) == (2, unknown)
    assert (
        "no universe is named 'sp50'; did you mean 'sp500'?"
        in cli("schedules", "add", "x", *of, "--universe", "sp50").err
    )
    _add(cli, "x", "--universe", "sp500:nasdaq100", of=of)
    answer = cli("schedules", "edit", "x", "--universe", "nasdaq10")
    assert (answer.code, answer.err) == (2, unknown)
    file = tmp_path / "schedules.yaml"
    rows = [{"name": name, "job": "noop", "cron": "@daily", "target": {"universe": "nasdaq10"}} for name in "xy"]
    file.write_text(yaml.safe_dump(rows))
    answer = cli("schedules", "import", file)
    assert (answer.code, answer.err) == (2, unknown)
    (row,) = cli("schedules", "list", "--json").json
    assert (row["target"]["universe"], row["problem"]) == ("sp500:nasdaq100", None)

    # It may be removed later: then every look says so, and only a change of the target is rejected.
    connection.execute("DELETE FROM definition_groups WHERE name = 'nasdaq100'")
    gone = "no universe is named 'nasdaq100'; known: sp500"
    assert _problems(cli) == {"x": gone}
    answer = cli("schedules", "edit", "x", "--cron", "@hourly")
    assert (answer.code, answer.err) == (0, f"x: {gone}\n")
    answer = cli("schedules", "trigger", "x")
    assert (answer.code, answer.err) == (2, f"Error: {gone}\n")
    assert cli("schedules", "edit", "x", "--universe", "sp500").err == ""


def test_every_broken_schedule_is_in_the_status_with_what_is_wrong(cli: Run, connection: Connection) -> None:
    for name in ("a-fine", "b-job", "c-parameter", "d-universe", "e-field", "f-calendar", "g-paused"):
        _add(cli, name)
    _add(cli, "h-late", "--after", "b-job")
    for name, change in {
        "b-job": "job = 'nop'",
        "c-parameter": """parameters = '{"x": 1}'""",
        "d-universe": """target = '{"universe": "u"}'""",
        "e-field": """target = '{"universe": "u", "symbols": []}'""",
        "f-calendar": "problem = 'its calendar ends'",
        "g-paused": "job = 'nop', enabled = false",
    }.items():
        connection.execute(f"UPDATE schedules SET {change} WHERE name = %s".encode(), (name,))
    broken = {
        "b-job": "no job is named 'nop'; did you mean 'noop'?",
        "c-parameter": "parameter x=1 of job 'noop': nothing has this name",
        "d-universe": "no universe is named 'u'; there is no universe yet",
        "e-field": "target.symbols '[]': it has fewer than 1 entries",
        "f-calendar": "its calendar ends",
    }
    connection.execute("UPDATE schedules SET enabled = false WHERE name = 'b-job'")
    paused = {"h-late": "it comes after 'b-job', which is paused"}
    assert _problems(cli) == broken | paused | {"g-paused": broken["b-job"]}
    listed = cli("schedules", "list")
    assert all(f"{name}: {text}\n" in listed.err for name, text in (broken | paused).items())

    connection.execute("UPDATE schedules SET enabled = true WHERE name = 'b-job'")
    status = cli("status", "--json").json
    (found,) = [row for row in status["components"] if row["component"] == "schedules"]
    assert (found["status"], found["detail"]["problems"]) == ("critical", broken)
    shown = " ".join(cli("status").out.split())
    assert all(f"schedule {name}: {text}" in shown for name, text in broken.items())

    connection.execute("UPDATE schedules SET enabled = name IN ('a-fine', 'h-late')")
    status = cli("status", "--json").json
    assert [row["what"] for row in status["findings"] if row["kind"] == "paused_link"] == [*paused.values()]
    assert f"schedule h-late: {paused['h-late']}" in " ".join(cli("status").out.split())


def test_a_circle_is_rejected_whichever_program_makes_it(cli: Run, connection: Connection, tmp_path: Path) -> None:
    file = tmp_path / "schedules.yaml"
    row = {"job": "noop", "target": {"symbols": ["A"]}, "cron": "@daily"}
    file.write_text(yaml.safe_dump([row | {"name": name, "after": after} for name, after in ("ab", "bc", "ca")]))
    answer = cli("schedules", "import", file)
    assert answer.code == 2
    assert answer.err == "Error: schedules come after each other in a circle: a after b after c after a\n"
    assert cli("schedules", "list", "--json").json == []

    for name, words in {"a": (), "b": ("--after", "a"), "c": ("--after", "b")}.items():
        _add(cli, name, *words)
    with pytest.raises(psycopg.errors.CheckViolation, match="in a circle: a after c after b after a"):
        connection.execute("UPDATE schedules SET after = 'c' WHERE name = 'a'")
    with connection.transaction():  # in any order, as long as there is no circle in the end
        connection.execute("UPDATE schedules SET after = 'b' WHERE name = 'a'")
        connection.execute("UPDATE schedules SET after = NULL WHERE name = 'b'")
    assert _problems(cli) == {}
    # One from before there was the rule, or from a dump, is named.
    connection.execute("ALTER TABLE schedules DISABLE TRIGGER schedules_no_circle")
    connection.execute("UPDATE schedules SET after = 'c' WHERE name = 'b'")
    circle = {
        "a": "it waits in a circle: a after b after c after b",
        "b": "it waits in a circle: b after c after b",
        "c": "it waits in a circle: c after b after c",
    }
    assert _problems(cli) == circle
    status = cli("status", "--json").json
    (found,) = [row for row in status["components"] if row["component"] == "schedules"]
    assert found["detail"]["problems"] == circle


def test_two_that_write_half_a_circle_each_do_not_pass_each_other(
    cli: Run, connection: Connection, database_url: str
) -> None:
    for name in "ab":
        _add(cli, name)
    with psycopg.connect(database_url) as other:
        other.execute("UPDATE schedules SET after = 'b' WHERE name = 'a'")
        with pytest.raises(psycopg.errors.CheckViolation, match="in a circle: a after b after a"):  # noqa: PT012
            connection.execute("UPDATE schedules SET after = 'a' WHERE name = 'b'")
            other.commit()


def test_a_paused_link_is_said_when_it_is_made_and_when_it_is_looked_at(cli: Run, tmp_path: Path) -> None:
    _add(cli, "a", "--paused")
    assert _add(cli, "b", "--after", "a") == "b: it comes after 'a', which is paused\n"
    assert _add(cli, "c", "--after", "b") == "c: it comes after 'a' (by way of b), which is paused\n"
    answer = cli("schedules", "resume", "a")
    assert (answer.code, answer.err) == (0, "")
    answer = cli("schedules", "pause", "a")
    assert (answer.code, answer.err.splitlines()) == (
        0,
        ["b: it comes after 'a', which is paused", "c: it comes after 'a' (by way of b), which is paused"],
    )
    file = tmp_path / "schedules.yaml"
    file.write_text(cli("schedules", "export").out)
    assert len(cli("schedules", "import", file).err.splitlines()) == 2
    assert cli("schedules", "edit", "b", "--clear", "after").err == ""
    assert cli("schedules", "list").err == ""


def test_a_name_may_have_hyphens(cli: Run, tmp_path: Path) -> None:
    _add(cli, "us-close")
    _add(cli, "us-close-2", "--after", "us-close")
    file = tmp_path / "schedules.yaml"
    file.write_text(cli("schedules", "export").out)
    assert [row["after"] for row in yaml.safe_load(file.read_text()) if "after" in row] == ["us-close"]
    assert cli("schedules", "import", file).out.splitlines()[1:] == ["us-close    unchanged", "us-close-2  unchanged"]
    assert cli("schedules", "edit", "us-close", "--name", "eu-close").code == 0
    assert cli("schedules", "show", "us-close-2", "--json").json["after"] == "eu-close"
    assert cli("schedules", "trigger", "eu-close", "--json").json["schedule"] == "eu-close"
    assert len(cli("schedules", "history", "eu-close", "--json").json) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--catch-up", "some"), "schedule 'x': catch_up 'some': it is not skip, latest or all"),
        (("--misfire-grace-seconds", "soon"), "schedule 'x': misfire_grace_seconds 'soon': it is not a whole number"),
        (("--max-instances", "1.5"), "schedule 'x': max_instances '1.5': it is not a whole number"),
        (("--min-coverage", "most"), "schedule 'x': min_coverage 'most': it is not a number"),
        (("--min-coverage", "2"), "schedule 'x': min_coverage '2': it is not at most 1"),
        (("--after-timeout-action", "wait"), "schedule 'x': after_timeout_action 'wait': it is not start or skip"),
        (("--on-event", "load"), "schedule 'x': event 'load' is not one of data_load_complete"),
        (("--after", "B"), "schedule 'x': after 'B': it is not 1 to 64 small letters, digits, _ and -, a letter first"),
        (("--user-id", "u" * 201), "it has more than 200 characters"),
    ],
)
def test_a_field_of_a_command_is_rejected_in_our_words(words: tuple[str, str], message: str, cli: Run) -> None:
    answer = cli("schedules", "add", "x", *_NOOP, *words)
    assert (answer.code, answer.err.startswith("Error: ")) == (2, True)
    assert message in answer.err


def test_a_field_that_cannot_be_cleared_is_named(cli: Run) -> None:
    _add(cli, "x")
    answer = cli("schedules", "edit", "x", "--clear", "job")
    assert answer.code == 2
    assert answer.err.startswith("Error: --clear 'job': it is not target, timeframe, cron, ")


def test_times_are_shown_with_their_zone(cli: Run, connection: Connection) -> None:
    _add(cli, "x", "--timezone", "Asia/Tokyo")
    cli("schedules", "trigger", "x")
    for command in ("show", "history"):
        connection.execute("UPDATE ticks SET scheduled_for = '2026-03-06T15:30:00Z'")
        assert "2026-03-07 00:30:00 JST" in cli("schedules", command, "x").out
    assert "12:00:00 JST" in cli("schedules", "list").out
