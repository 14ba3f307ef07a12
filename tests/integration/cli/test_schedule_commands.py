"""Schedules from the command line."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from command_line import Run
from scheduling import plan_from
from streamworkers.database import Connection
from streamworkers.jobs.cleanup import PARTS
from streamworkers.market.universes.store import add_symbols
from streamworkers.schedules import store

DEFAULTS = [
    "daily_indicator_calculation",
    "daily_pattern_detection",
    "post_import_analysis",
    "weekly_cache_maintenance",
    "daily_database_cleanup",
    "hourly_health_monitoring",
]


def _add(cli: Run, name: str = "job", *words: str) -> None:
    given = ("schedules", "add", name, "--job", "noop", "--symbols", "A,B", "--cron", "0 12 * * *", *words)
    answer = cli(*given)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x",), "name the job: --job"),
        (
            ("X", "--job", "noop", "--cron", "@daily", "--symbols", "A"),
            "schedule 'X': name 'X': it is not 1 to 64 small letters, digits, _ and -",
        ),
        (("x", "--job", "nop", "--cron", "@daily", "--symbols", "A"), "no job is named 'nop'; did you mean 'noop'?"),
        (("x", "--job", "noop", "--cron", "@daily"), "job 'noop' is about symbols: name a universe or symbols"),
        (("x", "--job", "noop", "--symbols", "A"), "it needs a cron, or the event that starts it"),
        (
            ("x", "--job", "noop", "--symbols", "A", "--universe", "u", "--cron", "@daily"),
            "name either --universe or --symbols",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "0 25 * * *"),
            "schedule 'x': cron '0 25 * * *': hour '25' is not * or of 0-23",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "session_close+10m"),
            "'session_close+10m' needs a calendar, such as XNYS, that knows the sessions",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--timezone", "New York"),
            "timezone 'New York' is not a name of the tz database, such as America/New_York",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--timezone", "localtime"),
            "timezone 'localtime' is not the same on every machine; name one such as America/New_York",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "*/90 * * * *"),
            "cron '*/90 * * * *': minute '*/90' has a step of 90, over its 60 values",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--every", "1d"),
            "name either --cron or --every",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--every", "1w"),
            "'every 1w' is not every and a time such as 90m, 1h30m, 45s or 2d",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--calendar", "NYSE!"),
            "no calendar is named 'NYSE!'; did you mean 'NYSE'?",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--after", "y"),
            "no schedule is named 'y'; there is no schedule yet",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--max-instances", "0"),
            "schedule 'x': max_instances '0': it is not at least 1",
        ),
        (
            ("x", "--job", "noop", "--symbols", "A", "--cron", "@daily", "--param", "a=1"),
            "schedule 'x': parameter a=1 of job 'noop': nothing has this name",
        ),
    ],
)
def test_a_schedule_that_breaks_a_rule_is_rejected(words: tuple[str, ...], message: str, cli: Run) -> None:
    answer = cli("schedules", "add", *words)
    assert answer.code == 2
    assert message in answer.err
    assert cli("schedules", "list").out == "no schedules yet: streamworkers schedules install-defaults\n"


@pytest.mark.parametrize(
    "words",
    [
        ("show",),
        ("edit",),
        ("remove",),
        ("pause",),
        ("resume",),
        ("trigger",),
        ("next",),
        ("history",),
    ],
)
def test_a_schedule_that_is_not_there_is_a_usage_error(words: tuple[str, ...], cli: Run) -> None:
    _add(cli)
    answer = cli("schedules", *words, "jop")
    assert (answer.code, answer.err) == (2, "Error: no schedule is named 'jop'; did you mean 'job'?\n")


def test_a_schedule_is_added_listed_shown_edited_and_removed(cli: Run, connection: Connection) -> None:
    add_symbols(connection, "u", ["A"])
    answer = cli(
        *("schedules", "add", "job", "--job", "ledger_entry", "--universe", "u", "--cron", "10 18 * * 1-5"),
        *("--calendar", "XNYS", "--param", "milliseconds=5", "--jitter-seconds", "30"),
    )
    assert answer.code == 0
    assert re.fullmatch(r"schedule job added; its next tick is \d{4}-\d\d-\d\d 18:10:00 E[DS]T\n", answer.out)
    (row,) = cli("schedules", "list", "--json").json
    assert (row["cron"], row["calendar"], row["target"]) == (
        "10 18 * * 1-5",
        "XNYS",
        {"universe": "u", "symbols": None},
    )
    assert cli("schedules", "list").out.splitlines()[1].startswith("job   ledger_entry  10 18 * * 1-5  XNYS")
    again = cli("schedules", "add", "job", "--job", "noop", "--symbols", "A", "--cron", "@daily")
    assert (again.code, again.err) == (2, "Error: there is a schedule 'job' already\n")

    changed = cli("schedules", "edit", "job", "--cron", "session_close+5m", "--param", "milliseconds=7", "--json").json
    assert changed["cron"] == "session_close+5m"
    assert changed["parameters"] == {"milliseconds": 7}
    assert changed["jitter_seconds"] == 30
    cleared = cli("schedules", "edit", "job", "--clear", "parameters", "--cron", "@hourly", "--name", "other", "--json")
    assert (cleared.json["name"], cleared.json["parameters"]) == ("other", {})
    broken = cli("schedules", "edit", "other", "--clear", "cron")
    assert "it needs a cron, or the event that starts it" in broken.err
    shown = cli("schedules", "show", "other").out
    assert "misfire_grace_seconds  300" in shown
    assert cli("schedules", "show", "other", "--json").json["cron"] == "@hourly"
    assert cli("schedules", "remove", "other").out == "schedule other removed\n"
    assert cli("schedules", "list", "--json").json == []


def test_schedules_that_await_each_other_are_kept_in_order(cli: Run) -> None:
    _add(cli, "a")
    _add(cli, "b", "--after", "a")
    _add(cli, "c", "--after", "b")
    answer = cli("schedules", "edit", "a", "--after", "c")
    assert (answer.code, answer.err) == (
        2,
        "Error: schedules come after each other in a circle: a after c after b after a\n",
    )
    assert cli("schedules", "edit", "a", "--after", "a").err == "Error: schedule 'a': it cannot come after itself\n"
    answer = cli("schedules", "edit", "b", "--name", "y", "--after", "c")
    assert (answer.code, answer.err) == (2, "Error: schedules come after each other in a circle: y after c after y\n")
    assert cli("schedules", "remove", "a").err == "Error: schedule 'a' is awaited by b\n"
    assert cli("schedules", "edit", "a", "--name", "z").code == 0
    assert cli("schedules", "show", "b", "--json").json["after"] == "z"


def test_pausing_is_kept_and_resuming_plans_from_now(cli: Run, connection: Connection) -> None:
    _add(cli)
    assert cli("schedules", "pause", "job").out == "schedule job paused\n"
    assert cli("schedules", "list").out.splitlines()[1].split()[-1] == "paused"
    assert cli("schedules", "resume", "job").out.startswith("schedule job resumed; its next tick is 20")
    row = connection.execute("SELECT enabled, next_run_at > now(), due_at = next_run_at FROM schedules").fetchone()
    assert row == (True, True, True)
    assert cli("schedules", "pause", "job", "--json").json["enabled"] is False


def test_the_audit_lists_ticks_without_rows_and_rows_without_ticks(cli: Run, connection: Connection) -> None:
    _add(cli, "job", "--timezone", "UTC", "--cron", "0 * * * *")
    assert cli("schedules", "audit", "job").code == 0
    begin = datetime(2026, 6, 1, tzinfo=UTC)
    connection.execute(
        "UPDATE schedule_timings SET valid_from = %s, valid_to = %s, ended_by = 'change', decided_at = now()",
        (begin, begin + timedelta(hours=5)),
    )
    connection.execute("UPDATE schedules SET enabled = NOT enabled")  # there is a valid one, and it does not tick
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, timing_id)"
        " SELECT schedule_id, valid_from + make_interval(mins => minute), '2026-06-01', 'started', id"
        " FROM schedule_timings, unnest('{60,120,150,180,300}'::int[]) AS minute WHERE cron IS NOT NULL"
        " ORDER BY id LIMIT 5"
    )
    since = ("--since", begin.isoformat())
    answer = cli("schedules", "audit", *since)
    assert answer.code == 1
    assert answer.out.splitlines()[1].split() == ["job", "5", "5", "0", "0", "1", "1", "0"]
    assert [line.split()[0] for line in answer.out.splitlines()[4:]] == ["missing", "extra"]
    shown = cli("schedules", "audit", "job", *since, "--json")
    assert shown.code == 1
    (found,) = shown.json["schedules"]
    assert (found["ticks"], found["missing"], found["extra"]) == (5, 1, 1)
    assert [each["tick"][11:16] for each in found["differences"]] == ["04:00", "02:30"]
    until = (begin + timedelta(hours=2, minutes=10)).isoformat()
    assert cli("schedules", "audit", "job", *since, "--until", until).code == 0
    connection.execute("UPDATE schedule_timings SET kept_from = %s", (begin + timedelta(hours=4, minutes=1),))
    kept = cli("schedules", "audit", "job", *since)
    assert kept.code == 0
    assert "job: ticks up to 2026-06-01T04:01:00+00:00 may have been deleted, and are not accounted for" in kept.err
    assert "the period from 2026-06-01" in cli("schedules", "audit", *since, "--until", begin.isoformat()).err
    assert "no schedule is named 'jop'; did you mean 'job'?" in cli("schedules", "audit", "jop").err
    cli("schedules", "remove", "job")
    assert cli("schedules", "audit", "job", *since).out.splitlines()[1].split()[:2] == ["job", "1"]
    assert len(cli("schedules", "history", "job", "--json").json) == 5


def test_a_change_says_what_happens_to_ticks_that_are_due(cli: Run, connection: Connection) -> None:
    tick = datetime.now(UTC) - timedelta(hours=6)
    _add(cli, "job", "--timezone", "UTC", "--cron", f"{tick:%M %H} * * *")
    plan_from(connection, tick - timedelta(days=3, hours=1), "job")  # no scheduler has run since
    text = "ticks that were due and not decided: 4, of which 1 start a run, 3 are missed"
    planned = cli("schedules", "edit", "job", "--cron", "0 0 29 2 *", "--dry-run")
    assert planned.code == 0, planned.err
    assert [line.split()[0] for line in planned.out.splitlines()[:1]] == ["next"]
    assert planned.out.splitlines()[-2:] == [text, "nothing was changed"]
    shown = cli("schedules", "edit", "job", "--clear", "calendar", "--catch-up", "all", "--dry-run", "--json").json
    assert shown["due_ticks"] == {"start": 4, "missed": 0, "skipped": 0}
    assert len(shown["before"]) == len(shown["after"]) == 5
    assert store.require_schedule(connection, "job").require_definition().catch_up == "latest"
    changed = cli("schedules", "edit", "job", "--cron", "0 0 29 2 *")
    assert changed.out.rstrip().endswith(f"; {text}")
    paused = cli("schedules", "pause", "job")
    assert paused.out == "schedule job paused; ticks that were due and not decided: 4, of which 4 are skipped\n"
    removed = cli("schedules", "remove", "job", "--json").json
    assert removed == {"name": "job", "removed": True, "due_ticks": {"start": 0, "missed": 0, "skipped": 4}}


def test_every_command_that_saves_a_schedule_plans_its_next_tick(
    cli: Run, connection: Connection, tmp_path: Path
) -> None:
    def planned() -> dict[str, bool]:
        rows = connection.execute(
            "SELECT name, next_run_at > now() FROM job_schedules WHERE enabled AND cron IS NOT NULL"
        )
        return dict(rows.fetchall())

    _add(cli)
    row = connection.execute(
        "SELECT id, name, job_type, target, cron, enabled, next_run_at FROM job_schedules WHERE enabled"
    ).fetchone()
    assert row is not None
    assert row[1:6] == ("job", "noop", {"symbols": ["A", "B"]}, "0 12 * * *", True)
    assert row[6] is not None
    assert cli("schedules", "pause", "job").code == 0
    assert cli("schedules", "resume", "job").code == 0
    assert planned() == {"job": True}
    assert cli("schedules", "edit", "job", "--cron", "30 12 * * *").code == 0
    assert planned() == {"job": True}
    connection.execute("UPDATE schedules SET problem = 'its calendar ends'")
    answer = cli("schedules", "edit", "job", "--max-instances", "2")
    assert (answer.code, answer.err) == (0, "job: its calendar ends\n")
    file = tmp_path / "schedules.yaml"
    file.write_text(
        cli("schedules", "export").out + "- {name: other, job: noop, target: {symbols: [A]}, cron: '@daily'}\n"
    )
    assert cli("schedules", "import", str(file)).code == 0
    assert planned() == {"job": True, "other": True}
    assert cli("schedules", "install-defaults").code == 0
    assert len(planned()) == 2 + len(DEFAULTS) - 1
    assert set(planned().values()) == {True}


def test_old_field_names_are_read_with_a_warning_and_written_as_new_ones(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    row = {"name": "old", "job_type": "ledger_entry", "target": {"symbols": ["A"]}, "cron": "@daily"}
    file.write_text(yaml.safe_dump([row | {"task_params": {"milliseconds": 7}}]))
    answer = cli("schedules", "import", str(file))
    assert answer.code == 0
    assert "the field job_type is now named job; the next release does not read the old name" in answer.err
    assert "the field task_params is now named parameters" in answer.err
    exported = cli("schedules", "export")
    assert "job_type" not in exported.out + exported.err
    (written,) = yaml.safe_load(exported.out)
    assert (written["job"], written["parameters"]) == ("ledger_entry", {"milliseconds": 7})
    file.write_text(exported.out)
    assert cli("schedules", "import", str(file)).err == ""

    cleared = cli("schedules", "edit", "old", "--clear", "task_params", "--json")
    assert cleared.json["parameters"] == {}
    assert "the field task_params is now named parameters" in cleared.err

    file.write_text(yaml.safe_dump([row | {"job": "noop"}]))
    assert "schedule 'old' has both job_type and job: keep job" in cli("schedules", "import", str(file)).err


def test_the_next_ticks_are_shown_in_both_times_across_a_change_of_the_clocks(cli: Run) -> None:
    _add(cli)
    rows = cli("schedules", "next", "job", "--count", "3", "--from", "2026-03-07", "--json").json
    assert [(row["local"], row["utc"]) for row in rows] == [
        ("2026-03-07T12:00:00-05:00", "2026-03-07T17:00:00Z"),
        ("2026-03-08T12:00:00-04:00", "2026-03-08T16:00:00Z"),
        ("2026-03-09T12:00:00-04:00", "2026-03-09T16:00:00Z"),
    ]
    table = cli("schedules", "next", "job", "--count", "2").out.splitlines()
    assert table[0].split() == ["America/New_York", "UTC"]
    assert len(table) == 3
    cli("schedules", "pause", "job")
    assert cli("schedules", "next", "job").err == "schedule job is paused\n"
    cli("schedules", "edit", "job", "--cron", "session_open", "--calendar", "XBOM")
    assert "the calendar XBOM ends there" in cli("schedules", "next", "job", "--count", "1000").err
    cli("schedules", "add", "e", "--job", "noop", "--on-event", "data_load_complete")
    answer = cli("schedules", "next", "e")
    assert answer.err == "Error: schedule 'e' has no cron: it is started by data_load_complete\n"


def test_a_schedule_ticks_at_an_interval_wherever_it_was_defined(
    cli: Run, tmp_path: Path, connection: Connection
) -> None:
    answer = cli("schedules", "add", "job", "--job", "noop", "--symbols", "A", "--every", "90m from 2026-01-05 09:30")
    assert answer.code == 0, answer.err
    file = tmp_path / "schedules.yaml"
    file.write_text(cli("schedules", "export").out.replace("name: job", "name: imported"))
    assert cli("schedules", "import", str(file)).code == 0
    connection.execute(
        "INSERT INTO schedules (name, job, target, cron) VALUES ('inserted', 'noop', '{\"symbols\": [\"A\"]}', %s)",
        ("every 90m from 2026-01-05 09:30",),
    )
    for name in ("job", "imported", "inserted"):
        rows = cli("schedules", "next", name, "--count", "2", "--from", "2026-03-08T07:00Z", "--json").json
        assert [row["local"] for row in rows] == ["2026-03-08T03:00:00-04:00", "2026-03-08T04:30:00-04:00"]
    assert "every 90m from 2026-01-05 09:30" in cli("schedules", "list").out
    assert cli("schedules", "edit", "job", "--every", "2d").code == 0
    assert cli("schedules", "show", "job", "--json").json["cron"] == "every 2d"


def test_a_zone_that_an_older_release_accepted_is_shown_with_what_is_wrong(cli: Run, connection: Connection) -> None:
    _add(cli)
    connection.execute("UPDATE schedules SET timezone = 'localtime'")
    connection.execute("UPDATE schedules SET next_run_at = '2020-01-01 12:00Z', problem = 'the zone'")
    answer = cli("schedules", "list")
    assert (answer.code, "2020-01-01 12:00:00 UTC" in answer.out) == (0, True)
    assert answer.err == "job: the zone\n"


def test_a_schedule_is_triggered_by_hand(cli: Run) -> None:
    _add(cli)
    answer = cli("schedules", "trigger", "job")
    assert answer.out == "run 1: 2 items of noop in queue bench\nwatch it: streamworkers runs watch 1\n"
    assert answer.err == "no worker reads queue 'bench' now: start one with `streamworkers worker`\n"
    again = cli("schedules", "trigger", "job")
    assert again.code == 2
    assert "max_instances 1, and run 1 is open: wait for it, or cancel it" in again.err
    assert "  started    triggered by hand\n" in cli("runs", "show", "1").out
    (row,) = cli("runs", "list", "--json").json
    assert (row["schedule"], row["trigger"]) == ("job", "manual")
    cli("runs", "cancel", "1")
    waited = cli("schedules", "trigger", "job", "--wait", "--timeout", "0.1")
    assert waited.code == 1
    assert "run 2 has not ended after 0.1 s" in waited.err
    assert cli("schedules", "trigger", "job", "--timeout", "1").err == (
        "Error: --timeout is the time to --wait: name both\n"
    )
    (newest, oldest) = cli("schedules", "history", "job", "--json").json
    assert (newest["run_id"], oldest["run_id"], oldest["status"]) == (2, 1, "CANCELLED")
    assert cli("schedules", "history", "job").out.splitlines()[1].endswith("triggered by hand")


def test_schedules_go_to_yaml_and_back(cli: Run, tmp_path: Path) -> None:
    _add(cli, "z_parent")
    _add(cli, "a_child", "--after", "z_parent", "--min-coverage", "0.9", "--paused")
    text = cli("schedules", "export").out
    assert [row["name"] for row in yaml.safe_load(text)] == ["a_child", "z_parent"]
    before = cli("schedules", "export", "--json").json
    file = tmp_path / "schedules.yaml"
    assert cli("schedules", "export", file).out == f"2 schedules in {file}\n"
    assert file.read_text() == text
    for name in ("a_child", "z_parent"):
        cli("schedules", "remove", name)
    outcomes = cli("schedules", "import", file, "--json").json
    assert outcomes == [{"name": "z_parent", "outcome": "added"}, {"name": "a_child", "outcome": "added"}]
    assert cli("schedules", "export", "--json").json == before
    file.write_text(text.replace("0 12 * * *", "0 13 * * *", 1))
    assert cli("schedules", "import", file).out.splitlines()[1:] == ["z_parent  unchanged", "a_child   changed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "it is not YAML: at line 1, column 5: a value is missing"),
        ("a: 1", "it is not a YAML list with a mapping for each schedule"),
        ("- 1", "schedule 1 of the list is '1', not a mapping of names to values"),
        (
            "- name: a\n  job: noop\n  job: load",
            "it is not YAML: at line 3, column 3: the name 'job' is in its mapping twice",
        ),
        ("- {name: a}", "schedule 'a': job"),
        ("- {name: a, job: noop, colour: red}", "schedule 'a': colour 'red': nothing has this name"),
        ("- &a {name: a, job: noop, on_event: data_load_complete}\n- *a", "'a' is in the list twice"),
        ("- !!python/object/apply:os.system ['true']", "it is not YAML: at line 1, column 3: the tag tag:"),
    ],
)
def test_yaml_that_breaks_a_rule_changes_nothing(text: str, message: str, cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text(text)
    answer = cli("schedules", "import", file)
    assert answer.code == 2
    assert message in answer.err
    assert cli("schedules", "list", "--json").json == []
    file.write_bytes(b"- a\n- \xff")
    assert f"Error: line 2 of {file} is not UTF-8: byte 3 of the line is 0xff\n" == cli("schedules", "import", file).err
    assert cli("schedules", "import", "/dev/zero").err == (
        "Error: /dev/zero exceeds STREAMWORKERS_SCHEDULES_MAX_BYTES=1048576\n"
    )


def test_one_bad_schedule_of_a_file_keeps_all_others_out(cli: Run, tmp_path: Path) -> None:
    file = tmp_path / "schedules.yaml"
    file.write_text("- {name: a, job: noop, on_event: data_load_complete}\n- {name: b, job: gone, cron: '@daily'}\n")
    assert "no job is named 'gone'" in cli("schedules", "import", file).err
    assert cli("schedules", "list", "--json").json == []


def test_the_six_standing_jobs_are_installed_with_times_from_the_settings(
    cli: Run, monkeypatch: pytest.MonkeyPatch, connection: Connection
) -> None:
    monkeypatch.setenv("JOB_INDICATOR_CALC_TIME", "17:45")
    monkeypatch.setenv("STREAMWORKERS_JOB_CLEANUP_TIME", "4:05")
    monkeypatch.setenv("STREAMWORKERS_PATTERN_RETENTION_DAYS", "60")
    add_symbols(connection, "sp500", ["A"])
    answer = cli("schedules", "install-defaults", "--json")
    assert [row["name"] for row in answer.json] == DEFAULTS
    assert answer.err == ("universes without symbols: nasdaq100, dow30: streamworkers universes import FILE\n")
    rows = {row["name"]: row for row in cli("schedules", "list", "--json").json}
    assert rows["daily_indicator_calculation"]["cron"] == "45 17 * * 1-5"
    assert rows["daily_indicator_calculation"]["calendar"] == "XNYS"
    assert rows["daily_indicator_calculation"]["target"]["universe"] == "nasdaq100:sp500:dow30"
    assert rows["daily_pattern_detection"]["cron"] == "20 18 * * 1-5"
    assert rows["daily_pattern_detection"]["after"] == "daily_indicator_calculation"
    assert rows["daily_database_cleanup"]["cron"] == "5 4 * * *"
    assert rows["daily_database_cleanup"]["parameters"]["pattern_days"] == 60
    assert rows["weekly_cache_maintenance"]["parameters"] == {"min_etfs": 24, "min_universes": 3}
    assert rows["post_import_analysis"]["on_event"] == "data_load_complete"
    cli("schedules", "edit", "daily_database_cleanup", "--cron", "@daily")
    monkeypatch.delenv("JOB_INDICATOR_CALC_TIME")
    assert {row["outcome"] for row in cli("schedules", "install-defaults", "--json").json} == {"unchanged"}
    replaced = {row["name"]: row["outcome"] for row in cli("schedules", "install-defaults", "--replace", "--json").json}
    assert [name for name, outcome in replaced.items() if outcome == "changed"] == [
        "daily_indicator_calculation",
        "daily_database_cleanup",
    ]
    monkeypatch.setenv("JOB_MAINTENANCE_TIME", "25:00")
    broken = cli("schedules", "install-defaults")
    assert broken.code == 2
    assert "STREAMWORKERS_JOB_MAINTENANCE_TIME='25:00': it is not a time of day as 18:30" in broken.err


def test_once_does_what_is_due_and_returns(cli: Run, connection: Connection) -> None:
    assert "there are no schedules yet: streamworkers schedules install-defaults" in cli("scheduler", "--once").err
    _add(cli, "due", "--catch-up", "latest")
    plan_from(connection, datetime.now(UTC) - timedelta(days=2), "due")
    assert cli("scheduler", "--once").code == 0
    (row,) = cli("runs", "list", "--json").json
    assert (row["schedule"], row["trigger"]) == ("due", "schedule")
    assert store.require_schedule(connection, "due").next_run_at is not None


def test_statistics_of_runs_and_ticks(cli: Run, connection: Connection) -> None:
    assert cli("runs", "stats").out == "no run ended in the last 14 days\n"
    _add(cli)
    cli("schedules", "trigger", "job")
    connection.execute(
        "UPDATE runs SET status = 'COMPLETED', completed_count = 2, failed_count = 0,"
        " started_at = created_at, completed_at = created_at + interval '3 seconds'"
    )
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, tick_count)"
        " SELECT id, now() - interval '1 day', now(), 'missed', 4 FROM schedules"
    )
    told = cli("runs", "stats", "--days", "2", "--json").json
    (row,) = told["jobs"]
    assert (row["job"], row["runs"], row["success_rate"], row["p95_seconds"], row["max_seconds"]) == (
        "noop",
        1,
        1,
        3,
        3,
    )
    assert [(tick["state"], tick["ticks"]) for tick in told["ticks"]] == [("missed", 4), ("started", 1)]
    lines = cli("runs", "stats").out.splitlines()
    assert lines[1].split() == ["noop", "1", "100.0%", "0", "3.00", "3.00", "3.00"]
    assert lines[-1].split() == ["job", "1", "0", "4", "0", "0"]
    assert len(cli("runs", "list", "--since", "2020-01-01", "--json").json) == 1
    assert cli("runs", "list", "--since", "2100-01-01").out == "no runs match\n"


def test_cleanup_from_the_command_line(cli: Run, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    connection.execute(
        "INSERT INTO health_checks (checked_at, component, status, message) VALUES ('2020-01-01', 'x', 'ok', '')"
    )
    connection.execute(
        "INSERT INTO submissions (submitted_at, submitted_by, requested_by, run_id, job)"
        " VALUES ('2020-01-01', 'x', 'x', 1, 'noop')"
    )
    rows = {row["table"]: row for row in cli("cleanup", "--dry-run", "--json").json}
    assert rows["health_checks"]["would_remove"] == 1
    assert rows["submissions"]["would_remove"] == 1
    assert "health_checks 1" in " ".join(cli("cleanup", "--dry-run").out.split())
    assert {row["table"]: row["removed"] for row in cli("cleanup", "--yes", "--json").json}["health_checks"] == 1
    monkeypatch.setenv("STREAMWORKERS_RUN_RETENTION_DAYS", "3")
    assert (
        cli("cleanup", "--yes").err
        == "Error: run_days 3 is below run_item_days 30: a run is kept at least as long as its items\n"
    )


def test_a_job_with_parts_needs_no_symbols(cli: Run) -> None:
    assert cli("enqueue", "database_cleanup", "--json").json["items"]["total"] == len(PARTS)
    assert cli("enqueue", "database_cleanup", "--symbols", "daily_patterns", "--json").json["items"]["total"] == 1
    answer = cli("enqueue", "database_cleanup", "--symbols", "ohlcv_daily")
    assert "no part of job 'database_cleanup' is named 'ohlcv_daily'" in answer.err
    answer = cli("enqueue", "health_check", "--universe", "u")
    assert "job 'health_check' is not about symbols: it has the parts system" in answer.err


def test_json_of_every_listing_is_json(cli: Run) -> None:
    _add(cli)
    for words in (("list",), ("show", "job"), ("next", "job"), ("history", "job"), ("export",), ("resume", "job")):
        json.dumps(cli("schedules", *words, "--json").json)
    assert cli("schedules", "remove", "job", "--json").json == {
        "name": "job",
        "removed": True,
        "due_ticks": {"start": 0, "missed": 0, "skipped": 0},
    }
