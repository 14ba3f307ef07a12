"""Backfills from the command line."""

import pytest

from command_line import Run
from streamworkers.database import Connection
from streamworkers.engine.registry import Registry
from streamworkers.market.universes.store import add_symbols
from streamworkers.schedules.backfills.driver import drive
from submitting import end_submitted_runs, install_jobs

_WEEK = ("--from", "2024-07-01", "--to", "2024-07-08")
_EVENING = ("--job", "noop", "--symbols", "A", "--cron", "10 18 * * *", "--calendar", "XNYS")
_JOB = ("--job", "noop", "--symbols", "A,B", "--calendar", "XNYS")


@pytest.fixture
def evening(cli: Run, connection: Connection, registry: Registry) -> str:
    """A schedule at 18:10 on sessions."""
    install_jobs(connection, registry)
    assert cli("schedules", "add", "evening", *_EVENING).code == 0
    return "evening"


def _finish(connection: Connection, backfill_id: int) -> None:
    for _ in range(10):
        step = drive(connection, backfill_id)
        if step is None or step.has_ended:
            return
        end_submitted_runs(connection)


def test_a_backfill_is_tried_started_listed_shown_watched_and_repeated(
    cli: Run, evening: str, connection: Connection
) -> None:
    plan = cli("schedules", "backfill", evening, *_WEEK, "--dry-run").out.splitlines()
    assert [line.split()[0] for line in plan[1:]] == [f"2024-07-0{day}" for day in (1, 2, 3, 5, 8)]
    assert plan[1].split()[1:] == ["2024-07-01", "18:10:00", "EDT", "waiting"]
    assert cli("backfills", "list").out == "no backfills yet: streamworkers schedules backfill\n"

    answer = cli("schedules", "backfill", evening, *_WEEK, "--parallel", "1")
    assert answer.out == (
        "backfill 1: 5 ticks of evening from 2024-07-01 to 2024-07-08: 5 waiting\n"
        "watch it: streamworkers backfills watch 1\n"
    )
    assert answer.err == "no scheduler runs now, which would start its runs: streamworkers scheduler\n"
    answer = cli("schedules", "backfill", evening, *_WEEK)
    assert answer.out == ("nothing to do: of 5 ticks of evening from 2024-07-01 to 2024-07-08 5 are in backfill 1\n")
    watched = cli("backfills", "watch", "1", "--timeout", "0.1")
    assert watched.code == 1
    assert "backfill 1 has not ended after 0.1 s. Watch it: streamworkers backfills watch 1" in watched.err

    drive(connection, 1)
    end_submitted_runs(connection, "FAILED")
    _finish(connection, 1)
    watched = cli("backfills", "watch", "1")
    assert watched.code == 1
    assert watched.out == (
        "backfill 1 of evening from 2024-07-01 to 2024-07-08: ended: 4 completed, 1 failed\n"
        "  2024-07-01: run 1 is FAILED\n"
    )
    (row,) = cli("backfills", "list", "--json").json
    assert (row["state"], row["ticks"], row["counts"]["completed"]) == ("ended", 5, 4)
    assert cli("backfills", "list").out.splitlines()[1].split()[:6] == [
        *("1", "evening", "2024-07-01", "2024-07-08", "ended", "5")
    ]
    shown = cli("backfills", "show", "1", "--state", "failed").out.splitlines()
    assert shown[-1].split() == ["2024-07-01", "2024-07-01", "18:10", "EDT", "failed", "1", "run", "1", "is", "FAILED"]
    assert len(cli("backfills", "show", "1", "--json").json["list"]) == 5

    second = cli("schedules", "backfill", evening, *_WEEK, "--json").json
    assert (second["counts"]["waiting"], second["counts"]["skipped"]) == (1, 4)
    _finish(connection, second["id"])
    assert cli("backfills", "watch", str(second["id"]), "--json").code == 0
    answer = cli("schedules", "backfill", evening, *_WEEK)
    assert answer.out == "nothing to do: of 5 ticks of evening from 2024-07-01 to 2024-07-08 5 skipped\n"
    assert cli("schedules", "backfill", evening, *_WEEK, "--json").json["id"] is None
    again = cli("schedules", "backfill", evening, *_WEEK, "--again", "--watch", "--timeout", "0.1", "--json")
    assert (again.code, again.json["counts"]["waiting"]) == (1, 5)
    third = again.json["id"]
    drive(connection, third)
    answer = cli("backfills", "cancel", str(third))
    assert answer.out == f"backfill {third} cancelled: 3 ticks were waiting\nopen runs go on: 7, 8\n"
    answer = cli("backfills", "cancel", str(third))
    assert (answer.code, answer.err) == (
        2,
        f"Error: backfill {third} is cancelled: there is nothing to cancel\n",
    )
    actions = [row["action"] for row in cli("audit", "list", "--json").json if row["object_type"] == "backfill"]
    assert sorted(actions) == ["backfill.cancel", "backfill.cancel", *3 * ["backfill.create"]]


def test_a_job_without_a_schedule_is_run_at_the_close_of_each_session(
    cli: Run, connection: Connection, registry: Registry
) -> None:
    install_jobs(connection, registry)
    answer = cli("schedules", "backfill", *_JOB, *_WEEK, "--json").json
    assert (answer["job"], answer["schedule"], answer["counts"]["waiting"]) == ("noop", None, 5)
    assert "5 are in backfill 1" in cli("schedules", "backfill", *_JOB, *_WEEK).out
    other = cli("schedules", "backfill", "--job", "noop", "--symbols", "C", *_WEEK, "--json").json
    assert other["counts"]["waiting"] == 5
    _finish(connection, 1)
    rows = connection.execute(
        "SELECT as_of AT TIME ZONE 'America/New_York', target, schedule FROM runs ORDER BY 1"
    ).fetchall()
    assert [(moment.strftime("%d %H:%M"), *rest) for moment, *rest in rows] == [
        (moment, "A,B", None) for moment in ("01 16:00", "02 16:00", "03 13:00", "05 16:00", "08 16:00")
    ]
    assert cli("schedules", "backfill", *_JOB, *_WEEK).out.startswith("nothing to do: of 5 ticks of noop from")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*_WEEK,), "name a schedule, or a job with --job"),
        (("evening", "--job", "noop", *_WEEK), "name either a schedule, which says what its runs are, or --job"),
        (("evening", "--symbols", "A", *_WEEK), "name either a schedule, which says what its runs are, or --job"),
        (("evenin", *_WEEK), "no schedule is named 'evenin'; did you mean 'evening'?"),
        (("event", *_WEEK), "schedule 'event' has no cron, so it has no ticks: name its job with --job"),
        (("evening", "--from", "2024-07-02", "--to", "2024-07-01"), "--to 2024-07-01 is before --from 2024-07-02"),
        (("evening", "--from", "2024-07-02", "--to", "2999-07-01"), "--to 2999-07-01 is in the future: today is 2"),
        (("evening", "--from", "2024-07-04", "--to", "2024-07-04"), "no tick from 2024-07-04 to 2024-07-04 has come"),
        (("evening", *_WEEK, "--timeout", "1"), "--timeout is the time to --watch: name both"),
        (("--job", "nop", "--symbols", "A", *_WEEK), "no job is named 'nop'; did you mean 'noop'?"),
        (("--job", "noop", *_WEEK), "job 'noop' is about symbols: name a universe or symbols"),
        (("--job", "noop", "--universe", "sp50", *_WEEK), "no universe is named 'sp50'; did you mean 'sp500'?"),
        (("--job", "noop", "--symbols", "A", "--timeframe", "x", *_WEEK), "timeframe 'x' is not one of"),
        (("--job", "noop", "--symbols", "A", "--param", "x=1", *_WEEK), "parameter x=1 of job 'noop': nothing has"),
        (("--job", "noop", "--symbols", "A", "--calendar", "XNYSE", *_WEEK), "no calendar is named 'XNYSE'; did you"),
    ],
)
def test_a_backfill_that_breaks_a_rule_is_rejected(
    words: tuple[str, ...], message: str, cli: Run, evening: str, connection: Connection
) -> None:
    add_symbols(connection, "sp500", ["A"])
    cli("schedules", "add", "event", "--job", "noop", "--on-event", "data_load_complete")
    answer = cli("schedules", "backfill", *words)
    assert answer.code == 2
    assert answer.err.startswith("Error: ")
    assert message in answer.err
    assert cli("backfills", "list", "--json").json == []


def test_a_backfill_that_is_not_there_is_named(cli: Run) -> None:
    for words in (("show", "7"), ("watch", "7"), ("cancel", "7")):
        answer = cli("backfills", *words)
        assert (answer.code, answer.err) == (2, "Error: no backfill is named '7'; there is no backfill yet\n")
    answer = cli("backfills", "show", "7", "--state", "gone")
    assert answer.err.startswith("Error: --state 'gone' is not one of waiting, started, completed, ")


def test_missing_sessions_are_listed(cli: Run, evening: str, connection: Connection) -> None:
    cli("schedules", "backfill", evening, *_WEEK)
    drive(connection, 1)
    rows = cli("schedules", "missing", evening, "--since", "2024-07-01", "--json").json
    assert [(row["session"], row["state"]) for row in rows[:6]] == [
        *[(f"2024-07-0{day}", "open") for day in (1, 2, 3, 5, 8)],
        ("2024-07-09", "none"),
    ]
    assert rows[0]["scheduled_for"] == "2024-07-01T22:10:00+00:00"
    table = cli("schedules", "missing", "--since", "2024-07-01").out.splitlines()
    assert table[0].split() == ["schedule", "session", "tick", "state", "run", "why"]
    assert table[1].split()[:5] == ["evening", "2024-07-01", "2024-07-01", "18:10:00", "EDT"]

    assert cli("schedules", "add", "often", "--job", "noop", "--symbols", "A", "--cron", "* * * * *").code == 0
    answer = cli("schedules", "missing")
    assert (answer.code, "often: there are more than 10,000 ticks from" in answer.err) == (0, True)
    assert cli("schedules", "missing", "often").code == 2
    assert cli("schedules", "missing", "gone").err.startswith("Error: no schedule is named 'gone'")
