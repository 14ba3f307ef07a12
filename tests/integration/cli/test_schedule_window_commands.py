"""`schedules windows`, `schedules at` and the end of a schedule."""

import pytest

from command_line import Run
from streamworkers.database import Connection


def _add(cli: Run, name: str, *words: str) -> None:
    answer = cli("schedules", "add", name, "--job", "noop", "--symbols", "A,B", "--cron", "0 12 * * *", *words)
    assert answer.code == 0, answer.err


def test_a_window_is_added_listed_seen_in_the_calendar_and_removed(cli: Run, connection: Connection) -> None:
    _add(cli, "one")
    _add(cli, "two")
    given = ("--from", "2199-01-05T10:00", "--until", "2199-01-06T13:00", "--schedule", "one", "--note", "a new disk")
    answer = cli("schedules", "windows", "add", *given)
    assert answer.out == "maintenance window 1 added: from 2199-01-05 10:00:00 EST until 2199-01-06 13:00:00 EST\n"
    waiting = cli(
        *("schedules", "windows", "add", "--from", "2199-01-07T10:00", "--until", "2199-01-07T13:00"),
        *("--timezone", "Asia/Tokyo", "--ticks", "wait", "--json"),
    )
    assert (waiting.json["id"], waiting.json["schedules"], waiting.json["mode"]) == (2, None, "wait")
    lines = cli("schedules", "windows", "list").out.splitlines()
    assert lines[0].split() == ["window", "from", "until", "schedules", "ticks", "state", "by", "note"]
    assert lines[1].split()[-8:] == ["one", "skip", "to", "come", "local", "a", "new", "disk"]
    assert "JST" in lines[2]

    rows = cli("schedules", "next", "--from", "2199-01-05", "--until", "2199-01-07", "--json").json
    why = "skipped: maintenance window 1 from 2199-01-05 10:00 EST until 2199-01-06 13:00 EST: a new disk"
    assert [(row["schedule"], row["window"]) for row in rows] == [("one", why), ("two", None)] * 2
    assert (
        cli("schedules", "next", "one", "--from", "2199-01-05", "--count", "1").out.splitlines()[0].endswith("window")
    )

    assert cli("schedules", "windows", "remove", "2").out == "maintenance window 2 removed\n"
    connection.execute("UPDATE maintenance_windows SET starts_at = now() - interval '1 hour'")
    assert cli("schedules", "windows", "remove", "1", "--json").json == {"id": 1, "outcome": "ended"}
    again = cli("schedules", "windows", "remove", "1")
    assert again.err == "Error: maintenance window 1 is over: what it has skipped names it\n"
    assert cli("schedules", "windows", "list").out == "no maintenance window is open or to come\n"
    (over,) = cli("schedules", "windows", "list", "--all", "--json").json
    assert (over["state"], over["schedules"]) == ("over", ["one"])
    audited = connection.execute("SELECT action, object_id FROM audit_log WHERE object_type = 'maintenance_window'")
    assert sorted(audited.fetchall()) == [
        *(("window.add", "1"), ("window.add", "2"), ("window.remove", "1"), ("window.remove", "2"))
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", "--until", "2020-01-01T10:00"), "a window ends after it begins, and 2020-01-01 15:00:00+00:00 is not"),
        (
            ("add", "--from", "2019-01-01T10:00", "--until", "2020-01-01T10:00"),
            "the window is over: it ends at 2020-01-01 15:00:00+00:00",
        ),
        (("add", "--until", "2199-01-01"), "'2199-01-01' is not a date with a time, such as 2026-12-01T19:00"),
        (("add", "--until", "2199-01-01T10:00", "--schedule", "gone"), "no schedule is named 'gone'"),
        (("add", "--until", "2199-01-01T10:00", "--timezone", "Mars"), "timezone 'Mars' is not a name of the tz"),
        (("remove", "7"), "no maintenance window is named '7'"),
    ],
)
def test_a_window_that_breaks_a_rule_is_rejected(words: tuple[str, ...], message: str, cli: Run) -> None:
    answer = cli("schedules", "windows", *words)
    assert answer.code == 2
    assert message in answer.err
    assert cli("schedules", "windows", "list", "--all", "--json").json == []


def test_a_run_at_a_moment_is_stored_listed_and_cancelled(cli: Run) -> None:
    given = ("schedules", "at", "ledger_entry", "2199-01-05T19:00", "--symbols", "A", "--param", "milliseconds=5")
    answer = cli(*given)
    assert answer.code == 0, answer.err
    assert answer.out == (
        "schedule ledger_entry_at_21990105_1900 added; it ticks once, at 2199-01-05 19:00:00 EST\n"
        "cancel it: streamworkers schedules remove ledger_entry_at_21990105_1900\n"
    )
    second = cli(*given, "--json").json
    assert (second["name"], second["cron"]) == ("ledger_entry_at_21990105_1900_2", "at 2199-01-05T19:00:00-05:00")
    named = cli(
        "schedules", "at", "noop", "2199-01-06T09:00", "--timezone", "Asia/Tokyo", "--symbols", "A", "--name", "n"
    )
    assert named.out.startswith("schedule n added; it ticks once, at 2199-01-06 09:00:00 JST\n")
    rows = cli("schedules", "next", "--json").json
    assert [row["utc"] for row in rows] == ["2199-01-06T00:00:00Z"] * 3
    assert cli("schedules", "remove", "n").code == 0
    assert len(cli("schedules", "list", "--json").json) == 2
    assert cli("schedules", "next", "ledger_entry_at_21990105_1900").err == (
        "schedule ledger_entry_at_21990105_1900 ends there\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("noop", "2020-01-01T10:00", "--symbols", "A"), "has no tick from now on until its end"),
        (("noop", "2199-03-10T02:30", "--symbols", "A"), "is a time that the clocks in America/New_York skip"),
        (("noop", "noon", "--symbols", "A"), "'noon' is not a date with a time, such as 2026-12-01T19:00"),
        (("nop", "2199-01-01T10:00", "--symbols", "A"), "no job is named 'nop'; did you mean 'noop'?"),
        (("noop", "2199-01-01T10:00"), "job 'noop' is about symbols: name a universe or symbols"),
    ],
)
def test_a_run_at_a_moment_that_cannot_be_is_rejected(words: tuple[str, ...], message: str, cli: Run) -> None:
    answer = cli("schedules", "at", *words)
    assert answer.code == 2
    assert message in answer.err
    assert cli("schedules", "list", "--json").json == []


def test_a_schedule_that_has_ended_says_so(cli: Run, connection: Connection) -> None:
    _add(cli, "job", "--end", "2199-01-05")
    shown = cli("schedules", "show", "job", "--json").json
    assert (shown["ends_at"], shown["has_ended"]) == ("2199-01-06T05:00:00Z", False)
    last = cli("schedules", "next", "job", "--from", "2199-01-04", "--json").json
    assert [row["session"] for row in last] == ["2199-01-04", "2199-01-05"]
    rejected = cli(
        "schedules", "add", "late", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--end", "2020-01-01"
    )
    assert "schedule 'late': cron '@daily' has no tick from now on until its end" in rejected.err
    assert cli("schedules", "edit", "job", "--end", "2020-01-01").code == 0
    (row,) = cli("schedules", "list", "--json").json
    assert (row["next_run_at"], row["has_ended"], row["problem"]) == (None, True, None)
    assert "  ended" in cli("schedules", "list").out
    exported = cli("schedules", "export").out
    assert "ends_at: '2020-01-02T05:00:00Z'" in exported
    assert cli("schedules", "edit", "job", "--clear", "ends_at").code == 0
    row = connection.execute("SELECT ends_at, next_run_at > now() FROM schedules").fetchone()
    assert row == (None, True)
