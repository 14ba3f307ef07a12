"""`schedules next`, `history` and `trigger`, of one schedule and of all."""

import pytest

from command_line import Run
from streamworkers.database import Connection
from streamworkers.market.universes.store import add_symbols


def _add(cli: Run, name: str, cron: str, *words: str) -> None:
    answer = cli("schedules", "add", name, "--job", "noop", "--symbols", "A,B", "--cron", cron, *words)
    assert answer.code == 0, answer.err


def test_the_next_ticks_of_all_schedules_are_in_the_order_of_time(cli: Run, connection: Connection) -> None:
    _add(cli, "tokyo", "0 9 * * *", "--timezone", "Asia/Tokyo")
    _add(cli, "noon", "0 12 * * *")
    _add(cli, "later", "0 12 * * *", "--after", "noon")
    _add(cli, "paused", "@hourly", "--paused")
    cli("schedules", "add", "loaded", "--job", "noop", "--on-event", "data_load_complete")
    _add(cli, "broken", "@daily")
    connection.execute("UPDATE schedules SET timezone = 'Mars' WHERE name = 'broken'")

    answer = cli("schedules", "next", "--from", "2026-12-01", "--until", "2026-12-02", "--json")
    assert [(row["utc"], row["schedule"], row["timezone"], row["after"]) for row in answer.json] == [
        ("2026-12-01T17:00:00Z", "later", "America/New_York", "noon"),
        ("2026-12-01T17:00:00Z", "noon", "America/New_York", None),
        ("2026-12-02T00:00:00Z", "tokyo", "Asia/Tokyo", None),
    ]
    assert "broken: timezone 'Mars' is not a name of the tz database" in answer.err
    assert "not shown, because paused: paused\n" in answer.err
    assert "not shown, because started by an event: loaded\n" in answer.err
    lines = cli("schedules", "next", "--from", "2026-12-01", "--count", "3").out.splitlines()
    assert [line.split()[-3:] for line in lines[1:]] == [
        ["later", "noop", "noon"],
        ["2026-12-01T17:00:00Z", "noon", "noop"],
        ["2026-12-02T00:00:00Z", "tokyo", "noop"],
    ]
    assert lines[3].startswith("2026-12-02 09:00:00 JST")
    assert len(cli("schedules", "next", "--json").json) == 10
    assert cli("schedules", "next", "--from", "2026-12-01", "--until", "2026-12-01").out == "no more ticks\n"


def test_a_long_calendar_ends_with_a_hint(cli: Run) -> None:
    _add(cli, "minutes", "* * * * *")
    answer = cli("schedules", "next", "--from", "2026-12-01", "--until", "2026-12-05", "--json")
    assert len(answer.json) == 1000
    assert (
        cli("schedules", "next", "minutes", "--from", "2026-12-01", "--until", "2026-12-01T00:03", "--json")
        .json[-1]["local"]
        .startswith("2026-12-01T00:02:00")
    )
    table = cli("schedules", "next", "--from", "2026-12-01", "--until", "2026-12-05")
    assert table.err == "these are the first 1000 ticks: --from starts later\n"


def test_the_history_of_all_schedules_is_filtered_by_state_and_time(cli: Run, connection: Connection) -> None:
    _add(cli, "one", "@daily")
    _add(cli, "two", "@daily", "--timezone", "Asia/Tokyo")
    connection.execute(
        "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason)"
        " SELECT id, day + interval '12 hours', day, state, 'because ' || state FROM schedules,"
        " generate_series('2026-11-01'::timestamptz AT TIME ZONE 'UTC', '2026-11-03', '1 day') day,"
        " (VALUES ('one', 'missed'), ('two', 'skipped')) kinds (name, state) WHERE schedules.name = kinds.name"
    )
    rows = cli("schedules", "history", "--state", "missed", "--since", "2026-11-02", "--json").json
    assert [(row["schedule"], row["state"], row["session"]) for row in rows] == [
        ("one", "missed", "2026-11-03"),
        ("one", "missed", "2026-11-02"),
    ]
    both = cli("schedules", "history", "--state", "missed", "--state", "skipped", "--until", "2026-11-02", "--json")
    assert [row["schedule"] for row in both.json] == ["one", "two"]
    table = cli("schedules", "history", "--limit", "2").out.splitlines()
    assert table[0].split() == ["schedule", "tick", "state", "run", "status", "seconds", "why"]
    assert table[1].startswith("one")
    assert "JST" in table[2]
    assert cli("schedules", "history", "one", "--state", "skipped").out == "no such ticks\n"
    assert cli("schedules", "history", "--state", "started").out == "no such ticks\n"


def test_a_trigger_may_be_about_something_else(cli: Run, connection: Connection) -> None:
    _add(cli, "job", "@daily", "--max-instances", "9")
    add_symbols(connection, "two", ["C", "D"])
    for words in (("--symbols", "X"), ("--universe", "two", "--timeframe", "hour"), ("--timeframe", "week"), ()):
        answer = cli("schedules", "trigger", "job", *words)
        assert answer.code == 0, answer.err
    rows = connection.execute(
        "SELECT r.target, r.timeframe, r.item_count, t.reason, t.detail FROM runs r JOIN ticks t ON t.run_id = r.id"
        " ORDER BY r.id"
    ).fetchall()
    hand = "triggered by hand"
    assert rows == [
        ("X", None, 1, f"{hand} about X", {"subject": "about X"}),
        ("two", "hour", 2, f"{hand} about two, timeframe hour", {"subject": "about two, timeframe hour"}),
        ("A,B", "week", 2, f"{hand} timeframe week", {"subject": "timeframe week"}),
        ("A,B", None, 2, hand, None),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("job", "--symbols", "A", "--universe", "u"), "name either --universe or --symbols"),
        (("job", "--universe", "u"), "no universe is named 'u'"),
        (("job", "--symbols", " , "), "--symbols ' , ' names none"),
        (("job", "--timeframe", "fortnight"), "'fortnight'"),
        (("health", "--universe", "u"), "job 'health_check' is not about symbols: it has the parts "),
        (("health", "--symbols", "nothing"), "nothing"),
        (("ids", "--universe", "u"), "job 'deliver' is not about symbols: --symbols names the ids of its items"),
    ],
)
def test_a_trigger_is_checked_as_enqueue_is(
    words: tuple[str, ...], message: str, cli: Run, connection: Connection
) -> None:
    _add(cli, "job", "@daily")
    cli("schedules", "add", "health", "--job", "health_check", "--cron", "@daily")
    connection.execute("INSERT INTO schedules (name, job, on_event) VALUES ('ids', 'deliver', 'data_load_complete')")
    answer = cli("schedules", "trigger", *words)
    assert answer.code == 2
    assert message in answer.err
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
