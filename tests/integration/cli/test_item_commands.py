"""`items list` and `items show`: items of all runs, in every state, with any symbol and any text of an error."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from command_line import Answer, Run, wait_for
from harness import start_run
from streamworkers.database import Connection
from streamworkers.engine.ledger.item_lists import ItemFilter, list_items
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

LONG = "x" * 100_000 + " and its END"
# By state: the symbol, and the error.
ITEMS: list[tuple[str, str, str | None]] = [
    ("pending", "PLAIN", None),
    ("retrying", "BRK.B", "TimeoutError: 100% of _x_\nsecond line\ttab"),
    ("completed", "日本", None),
    ("failed", "per%cent", "ÄRGER: straße [bold]not markup[/]"),
    ("failed", "under_score", LONG),
    ("failed", "line\nend", "'; DROP TABLE runs; --"),
    ("cancelled", "-dash", None),
    ("failed", "back\\slash", "C:\\temp"),
]


def _make_run(connection: Connection, job: str, *, days_ago: int = 0, timeframe: str | None = None) -> int:
    """A run with the items above, of so many days ago."""
    row = connection.execute(
        """
        INSERT INTO runs (job, queue, target, item_count, max_attempts, run_day, created_at, schedule)
        SELECT %s, 'analysis', 'x', %s, 3, (at AT TIME ZONE 'UTC')::date, at, 'evening-' || %s::text
        FROM (SELECT now() - make_interval(days => %s) AS at) AS t RETURNING id, run_day
        """,
        (job, len(ITEMS), job, days_ago),
    ).fetchone()
    assert row is not None
    connection.execute("SELECT ensure_run_items_partition(%s)", (row[1],))
    for seq, (status, symbol, error) in enumerate(ITEMS):
        begun = None if status in ("pending", "cancelled") else datetime.now(UTC)
        connection.execute(
            """
            INSERT INTO run_items
                (run_day, run_id, seq, symbol, timeframe, status, error, attempt, started_at, finished_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, 1, %s, %s)
            """,
            (row[1], row[0], seq, symbol, timeframe, status, error, begun, begun and begun + timedelta(seconds=2)),
        )
    return int(row[0])


def _found(answer: Answer) -> list[str]:
    assert answer.code == 0, answer
    return [row["item"] for row in answer.json]


def test_items_are_found_by_state_and_by_each_filter(cli: Run, connection: Connection) -> None:
    old = _make_run(connection, "noop", days_ago=3)
    new = _make_run(connection, "indicators", timeframe="day")
    both = [f"{run}:{seq}" for run in (new, old) for seq in range(len(ITEMS))]
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    of_new, of_old = both[: len(ITEMS)], both[len(ITEMS) :]
    cases = {
        (): both,
        ("--status", "pending"): [f"{new}:0", f"{old}:0"],
        ("--status", "RETRYING"): [f"{new}:1", f"{old}:1"],
        ("--status", "completed"): [f"{new}:2", f"{old}:2"],
        ("--status", "dead"): [f"{run}:{seq}" for run in (new, old) for seq in (3, 4, 5, 7)],
        ("--status", "failed", "--run", str(old)): [f"{old}:{seq}" for seq in (3, 4, 5, 7)],
        ("--status", "cancelled"): [f"{new}:6", f"{old}:6"],
        ("--job", "noop"): of_old,
        ("--schedule", "evening-indicators"): of_new,
        ("--timeframe", "daily"): of_new,
        ("--since", since): of_new,
        ("--until", since): of_old,
        ("--run", str(old), "--limit", "2"): of_old[:2],
    }
    assert {words: _found(cli("items", "list", "--json", *words)) for words in cases} == cases


@pytest.mark.parametrize("symbol", [symbol for _, symbol, _ in ITEMS])
def test_a_symbol_is_found_and_shown_whatever_characters_it_has(cli: Run, connection: Connection, symbol: str) -> None:
    run = _make_run(connection, "noop")
    seq = [each for _, each, _ in ITEMS].index(symbol)
    assert _found(cli("items", "list", "--json", f"--symbol={symbol}")) == [f"{run}:{seq}"]
    shown = cli("items", "show", "--json", "--", str(run), symbol)
    assert (shown.json["item"], shown.json["symbol"], shown.json["error"]) == (f"{run}:{seq}", symbol, ITEMS[seq][2])
    lines = cli("items", "show", f"{run}:{seq}").out.splitlines()
    assert lines[0].startswith(f"{run}:{seq}: ")
    assert "of noop is" in lines[0]


@pytest.mark.parametrize(
    ("text", "seqs"),
    [
        ("100% OF _X_", [1]),
        ("%", [1]),
        ("_", [1]),
        ("\n", [1]),
        ("SECOND", [1]),
        ("ÄRGER: STRASS", []),
        ("ÄRGER: STRA", [3]),
        ("[bold]", [3]),
        ("'; drop", [5]),
        ("\\", [7]),
        ("and its end", [4]),
        ("x" * 100_000, [4]),
        ("% of _y_", []),
    ],
)
def test_a_part_of_an_error_is_found_as_it_is(cli: Run, connection: Connection, text: str, seqs: list[int]) -> None:
    run = _make_run(connection, "noop")
    assert _found(cli("items", "list", "--json", "--error", text)) == [f"{run}:{seq}" for seq in seqs]


def test_a_list_is_one_line_an_item_and_json_has_all_of_it(cli: Run, connection: Connection) -> None:
    run = _make_run(connection, "noop")
    lines = cli("items", "list").out.splitlines()
    assert lines[0].split() == ["item", "job", "symbol", "timeframe", "state", "attempts", "ended", "seconds", "error"]
    assert len(lines) == 1 + len(ITEMS)
    assert max(map(len, lines)) < 700
    assert "[bold]not markup[/]" in lines[4]
    rows = cli("items", "list", "--json").json
    assert (rows[4]["error"], rows[4]["seconds"]) == (LONG, 2.0)
    assert "history" not in rows[4]
    assert cli("items", "show", "--json", str(run), "under_score").json["error"] == LONG


def test_pages_follow_each_other_without_a_gap_while_runs_are_added(cli: Run, connection: Connection) -> None:
    first, second = _make_run(connection, "noop"), _make_run(connection, "noop")
    seen: list[str] = []
    words: tuple[str, ...] = ()
    while True:
        answer = cli("items", "list", "--json", "--limit", "3", *words)
        seen += _found(answer)
        _make_run(connection, "noop")  # newer than every page that follows
        more = [line for line in answer.err.splitlines() if line.startswith("there are more: ")]
        if not more:
            break
        words = tuple(more[0].removeprefix("there are more: ").split())
    assert seen == [f"{run}:{seq}" for run in (second, first) for seq in range(len(ITEMS))]


def test_what_is_searched_is_printed_and_is_a_week_by_default(cli: Run, connection: Connection) -> None:
    old = _make_run(connection, "noop", days_ago=8)
    answer = cli("items", "list", "--json")
    assert answer.json == []
    since = datetime.now().astimezone() - timedelta(days=7)
    assert answer.err.startswith(f"searched: runs created since {since:%Y-%m-%d %H:%M}")
    assert cli("items", "list").out == "no items match\n"
    month = (datetime.now(UTC) - timedelta(days=30)).strftime("%Y-%m-%d")
    assert len(_found(cli("items", "list", "--json", "--since", month))) == len(ITEMS)
    named = cli("items", "list", "--json", "--run", str(old))
    assert (len(_found(named)), named.err) == (len(ITEMS), "")


def test_a_list_plans_only_the_partitions_of_its_period(connection: Connection) -> None:
    connection.execute("SELECT ensure_run_items_partition((current_date - n)::date) FROM generate_series(0, 29) AS n")
    since = datetime.now(UTC) - timedelta(days=7)
    for wanted in (ItemFilter(since=since), ItemFilter(since=since, symbol="A", status="failed", error="x")):
        with connection.transaction():
            assert list_items(connection, wanted, 20) == []
            rows = connection.execute(
                "SELECT c.relname FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                " WHERE l.pid = pg_backend_pid() AND c.relname ~ '^run_items_[0-9]{8}$' AND c.relkind = 'r'"
            ).fetchall()
        days = sorted(name for (name,) in rows)
        assert 8 <= len(days) <= 9, days
        assert days[0] == f"run_items_{since:%Y%m%d}"


def test_a_search_that_takes_too_long_ends_with_what_narrows_it(cli: Run, connection: Connection) -> None:
    _make_run(connection, "noop")
    connection.execute("ALTER TABLE run_items RENAME TO slow_items")
    connection.execute("CREATE VIEW run_items AS SELECT i.* FROM slow_items i, pg_sleep(60)")
    answer = cli("items", "list", "--timeout", "0.2")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == (
        "Error: the search took longer than 0.2 s: name the run, the job or the schedule, or a later --since;"
        " --timeout gives it longer\n"
    )


def test_what_is_misspelt_is_an_error_that_names_the_nearest(cli: Run, connection: Connection) -> None:
    run = _make_run(connection, "noop")
    slips = {
        "items list --job indicator": "no job is named 'indicator'; did you mean 'indicators'?",
        "items list --status faild": "no state of an item is named 'faild'; did you mean 'failed'?",
        "items list --symbol PLAIM": "no symbol of an item is named 'PLAIM'; did you mean 'PLAIN'?",
        f"items list --run {run} --symbol PLAIM": "no symbol of an item is named 'PLAIM'; did you mean 'PLAIN'?",
        "items list --run 777": f"no run is named '777'; known: {run}",
        "items list --schedule evning": "no schedule is named 'evning'; there is no schedule yet",
        "items list --timeframe dya": "timeframe 'dya' is not one of 1min, hour, day, week, month",
        "items list --after 12": "'12' is not an item as RUN:SEQ, such as 42:17",
        "items list --since 2026-01-02 --until 2026-01-01": "--until 2026-01-01 is not after --since 2026-01-02T",
        f"items show {run} PLAIM": f"no item of run {run} is named 'PLAIM'; did you mean 'PLAIN'?",
        f"items show {run}:99": f"run {run} has no item 99: see `streamworkers items list --run {run}`",
        "items show 777:0": f"no run is named '777'; known: {run}",
        "items show PLAIN": "'PLAIN' is not an item as RUN:SEQ, such as 42:17",
        "items show PLAIN 1": "'PLAIN' is not the number of a run, such as 42",
    }
    for line, error in slips.items():
        answer = cli(*line.split())
        assert (answer.code, answer.out) == (2, ""), (line, answer)
        assert answer.err.startswith(f"Error: {error}"), (line, answer)


def test_a_symbol_in_several_timeframes_needs_one(cli: Run, connection: Connection) -> None:
    run = _make_run(connection, "noop", timeframe="day")
    connection.execute(
        "INSERT INTO run_items (run_day, run_id, seq, symbol, timeframe)"
        " SELECT run_day, run_id, 99, symbol, 'hour' FROM run_items WHERE symbol = 'PLAIN'"
    )
    answer = cli("items", "show", str(run), "PLAIN")
    assert answer.err == f"Error: run {run} has 'PLAIN' in these timeframes: day, hour; name one with --timeframe\n"
    assert cli("items", "show", str(run), "PLAIN", "--timeframe", "hour", "--json").json["seq"] == 99


@pytest.mark.usefixtures("worker")
def test_an_item_is_shown_with_its_attempts_and_what_is_next(cli: Run, connection: Connection) -> None:
    words = ("--symbols", "A,RAISE", "--max-attempts", "2", *wait_for(60))
    assert cli("enqueue", "misbehaving", *words).code == 1
    shown = cli("items", "show", "1", "RAISE")
    assert shown.out.startswith("1:1: RAISE of misbehaving is dead\n")
    for text in (
        "  run        1, COMPLETED_WITH_ERRORS, about A,RAISE\n",
        "  attempts   2 of 2\n",
        "s after the call began\n",
        "ValueError: RAISE cannot be computed",
        "The newest attempt failed here:\n",
        "Events of the run:\n",
        "\nNext: streamworkers dead replay 1:1   # runs it again, from attempt 1\n",
    ):
        assert text in shown.out, shown.out
    found = cli("items", "show", "1:1", "--json").json
    assert [each["attempt"] for each in found["history"]] == [1, 2]
    assert [each["kind"] for each in found["events"]][-1] == "ended"
    assert found["run"]["job"] == "misbehaving"
    assert cli("items", "show", "1", "A").out.endswith("\nNext: streamworkers runs show 1\n")
    dead = cli("dead", "show", "1:1", "--json").json
    assert {name: found[name] for name in dead} == dead
    assert cli("dead", "replay", "1:1").code == 0
    assert cli("runs", "watch", "1").code == 1
    assert cli("items", "show", "1:1").out.startswith("1:1: RAISE of misbehaving is dead; it was reopened once\n")


@pytest.mark.usefixtures("worker_of_all_jobs")
def test_an_item_of_an_analysis_is_shown_with_what_it_saved(cli: Run) -> None:
    cli("bars", "synthesize", "--symbols", "2", "--days", "300", "--end", "2013-03-01", "--universe", "made")
    assert cli("enqueue", "analysis", "--universe", "made", *wait_for(60)).code == 0
    symbol = cli("items", "list", "--status", "completed", "--json").json[0]["symbol"]
    found = cli("items", "show", "1", symbol, "--json").json
    values = {row["indicator"]: row["value"] for row in cli("results", symbol, "--json").json["indicators"]}
    assert {row["indicator"]: row["value"] for row in found["saved"]["indicators"]} == values
    assert len(values) > 10
    assert found["result"]["bars_used"] > 100
    shown = cli("items", "show", "1", symbol)
    assert f"1:0: {symbol} day of analysis is completed\n" in shown.out
    assert f"  saved      {len(values)} values, " in shown.out
    assert "  parameter  indicator_definitions=(" in shown.out
    assert shown.out.endswith(f"\nNext: streamworkers results show {symbol} --timeframe day\n")


def test_what_is_next_depends_on_the_state(
    cli: Run, connection: Connection, streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "noop", "A", "B")
    assert cli("items", "show", f"{run.id}:0").out.endswith(f"\nNext: streamworkers runs watch {run.id}\n")
    assert cli("runs", "cancel", str(run.id)).code == 0
    shown = cli("items", "show", f"{run.id}:0").out
    assert shown.startswith(f"{run.id}:0: A of noop is cancelled\n")
    assert f"\nNext: streamworkers runs retry {run.id}   # runs the cancelled and dead items" in shown


@pytest.mark.parametrize("junk", ["null", "[1]", '{"a": 1}', '[{"attempt": {}, "error": 5, "stack": [1]}]'])
def test_a_history_that_another_program_wrote_ends_no_command(cli: Run, connection: Connection, junk: str) -> None:
    run = _make_run(connection, "noop")
    connection.execute("UPDATE run_items SET history = %s::jsonb, result = %s::jsonb", (junk, json.dumps({"a": "ü"})))
    for words in (("items", "show", f"{run}:3"), ("dead", "show", f"{run}:3"), ("dead", "list")):
        assert cli(*words).code == 0, words
    assert '  result     {"a": "ü"}\n' in cli("items", "show", f"{run}:3").out
