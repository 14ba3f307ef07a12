"""Runs and dead items from the command line, with a real worker where one is needed."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from command_line import Run, wait_for
from harness import Supervisor, wait_until
from patience import patient
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.redis.queue import Delivery
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from submitting import install_jobs, make_preparer, submit


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("noop",), "name either --universe or --symbols"),
        (("noop", "--universe", "u", "--symbols", "A"), "name either --universe or --symbols"),
        (("noop", "--symbols", ","), "a run needs at least one symbol"),
        (("noop", "--symbols", "A B"), "the symbol 'A B' is not letters, digits and"),
        (("noop", "--universe", ""), "universe '' is not a name of 1 to 64 letters"),
        (("noop", "--universe", "sp500"), "no universe is named 'sp500'; there is no universe yet"),
        (("choosing", "--universe", "u"), "job 'choosing' is not about symbols: --symbols names the ids of its items"),
        (("nop", "--symbols", "A"), "no job is named 'nop'; did you mean 'noop'?"),
        (("ledger_entry", "--symbols", "A", "--param", "x"), "parameter 'x' is not NAME=VALUE"),
        (
            ("ledger_entry", "--symbols", "A", "--param", "x=1"),
            "parameter x=1 of job 'ledger_entry': nothing has this name",
        ),
        (
            ("ledger_entry", "--symbols", "A", "--param", "milliseconds=long"),
            "parameter milliseconds='long' of job 'ledger_entry': it is not a number",
        ),
        (("noop", "--symbols", "A", "--param", "a=1", "--param", "a=2"), "parameter 'a' is given twice"),
        (("noop", "--symbols", "A", "--as-of", "2021-13-01"), "'2021-13-01' is not a date YYYY-MM-DD or a time"),
        (("noop", "--symbols", "A", "--as-of", "9999-12-31T23:00-12:00"), "-12:00' is outside of the years 1 to 9999"),
        (("noop", "--symbols", "A", "--timeframe", "2day"), "timeframe '2day' is not one of 1min, hour, day"),
        (("noop", "--symbols", "A", "--timeout", "5"), "--timeout limits --wait: name both"),
        (("noop", "--symbols", "A", "--wait", "--timeout", "nan"), "--timeout 'nan' is not a number of seconds"),
        (("noop", "--symbols", "A", "--max-attempts", "0"), "--max-attempts '0' is not a whole number from 1 to 100"),
        (("noop", "--symbols", "A", "--at", "18:30"), "'18:30' is not a date with a time, such as 2026-12-01T19:00"),
        (("noop", "--symbols", "A", "--at", "2027-03-14T02:30"), "is a time that the clocks in America/New_York skip"),
        (("noop", "--symbols", "A", "--at", "2026-11-01T01:30"), "comes twice in America/New_York: name an offset"),
        (("noop", "--symbols", "A", "--at", "2999-01-01T00:00"), "is more than 366 days ahead"),
        (("noop", "--symbols", "A", "--in", "soon"), "--in: 'soon' is not a time such as 90s, 5m, 2h, 1d or 1w"),
        (("noop", "--symbols", "A", "--in", "99w"), "is more than 366 days ahead"),
        (("noop", "--symbols", "A", "--in", "1m", "--at", "2026-11-27T18:30"), "name either --at or --in, not both"),
        (
            ("noop", "--symbols", "A", "--in", "1m", "--key", "k"),
            "--in with --key means another time at each repetition",
        ),
        (
            ("noop", "--symbols", "A", "--webhook", "https://x.example"),
            "--webhook is signed with --webhook-secret: name both",
        ),
        (
            ("noop", "--symbols", "A", "--webhook-secret", "env:A"),
            "--webhook is signed with --webhook-secret: name both",
        ),
        (
            ("noop", "--symbols", "A", "--webhook", "x.example", "--webhook-secret", "env:A"),
            "job 'noop': the url of the webhook is not a URL as https://example.com/hooks",
        ),
        (
            ("noop", "--symbols", "A", "--webhook", "https://x.example", "--webhook-secret", "abc"),
            "a secret of the webhook is not named: name the variable that holds it, as env:MY_SECRET",
        ),
        (("noop", "--symbols", "A", "--after", "7"), "there is no run 7 to come after"),
        (("noop", "--symbols", "A", "--after", "0"), "--after '0' is not a whole number, at least 1"),
        (
            ("noop", "--symbols", "A", "--after-when", "ended"),
            "--after-when says how the run of --after must end: name",
        ),
        (
            ("noop", "--symbols", "A", "--after", "7", "--after-when", "failed"),
            "'failed' is not one of completed, ended",
        ),
    ],
)
def test_an_enqueue_that_breaks_a_rule_makes_no_run(
    words: tuple[str, ...], message: str, cli: Run, connection: Connection, registry: Registry
) -> None:
    install_jobs(connection, registry)
    answer = cli("enqueue", *words)
    assert answer.code == 2
    assert message in answer.err
    assert cli("runs", "list", "--json").json == []


def test_an_empty_universe_is_named(cli: Run, database_url: str) -> None:

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("INSERT INTO definition_groups (name, type) VALUES ('none', 'UNIVERSE')")
    answer = cli("enqueue", "noop", "--universe", "none")
    assert (answer.code, answer.err) == (2, "Error: universe 'none' has no symbols\n")


def test_a_run_without_workers_waits_and_can_be_listed_shown_cancelled_and_retried(cli: Run) -> None:
    answer = cli("enqueue", "ledger_entry", "--symbols", "B, A,A", "--as-of", "2021-05-14", "--timeframe", "daily")
    assert answer.code == 0
    assert answer.out == ("run 1: 2 items of ledger_entry in queue tests\nwatch it: streamworkers runs watch 1\n")
    assert answer.err == "no worker reads queue 'tests' now: start one with `streamworkers worker`\n"

    (row,) = cli("runs", "list", "--json").json
    assert (row["run_id"], row["status"], row["target"], row["as_of"]) == (1, "PENDING", "B,A", "2021-05-14")
    table = cli("runs", "list", "--job", "ledger_entry", "--status", "pending").out.splitlines()
    assert table[0].split()[:3] == ["run", "job", "target"]
    assert len(table) == 2
    assert cli("runs", "list", "--status", "FAILED").out == "no runs match\n"

    shown = cli("runs", "show", "1")
    assert "run 1: ledger_entry over B,A: PENDING" in shown.out
    assert "0 of 2 closed" in shown.out
    waited = cli("runs", "watch", "1", "--timeout", "0.1", "--json")
    assert waited.code == 1
    assert waited.json["status"] == "PENDING"
    assert "run 1 has not ended after 0.1 s. Watch it: streamworkers runs watch 1" in waited.err

    cancelled = cli("runs", "cancel", "1")
    assert (cancelled.code, cancelled.out) == (0, "run 1 cancelled with 2 items open\n")
    assert cli("runs", "show", "1", "--json").json["items"]["cancelled"] == 2
    assert "  cancelled  2\n" in cli("runs", "show", "1").out
    again = cli("runs", "cancel", "1")
    assert again.code == 2
    assert "run 1 is CANCELLED, and only a run that is PENDING or RUNNING can be cancelled" in again.err
    retried = cli("runs", "retry", "1")
    assert (retried.code, retried.out) == (0, "run 1: 2 items enqueued again\n")
    rejected = cli("runs", "retry", "1")
    assert rejected.code == 2
    assert "run 1 has no item that is failed or cancelled" in rejected.err


def test_enqueue_as_json_is_the_summary(cli: Run) -> None:
    summary = cli("enqueue", "noop", "--symbols", "A", "--json", "--max-attempts", "7").json
    assert (summary["run_id"], summary["status"], summary["max_attempts"]) == (1, "PENDING", 7)
    assert summary["items"]["open"] == 1


@pytest.mark.parametrize("verb", ["show", "watch", "cancel", "retry"])
@pytest.mark.parametrize(
    ("run_id", "message"),
    [
        ("7", "no run is named '7'"),
        ("0", "RUN '0' is not a whole number, at least 1"),
        ("9" * 30, "from 1 to 9223372036854775807"),
    ],
)
def test_a_run_that_is_not_there_is_a_usage_error(verb: str, run_id: str, message: str, cli: Run) -> None:
    answer = cli("runs", verb, run_id)
    assert answer.code == 2
    assert message in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "7"), "'7' is not an item as RUN:SEQ, such as 42:17"),
        (("show", "1:x"), "'1:x' is not an item as RUN:SEQ"),
        (("show", "7:0"), "no run is named '7'"),
        (("show", "1:0"), "item 1:0 is not dead: see `streamworkers dead list --run 1`"),
        (("replay",), "name items, or filters, or --all: exactly one of the three"),
        (("replay", "1:0", "--all"), "exactly one of the three"),
        (("replay", "1:0"), "item 1:0 is not dead"),
        (("replay", "1:0", "--dry-run"), "item 1:0 is not dead"),
        (("purge",), "exactly one of the three"),
        (("purge", "1:99"), "item 1:99 is not dead"),
        (("list", "--since", "soon"), "'soon' is not a date YYYY-MM-DD"),
        (("list", "--run", "9" * 30), "is not a whole number from 1 to 9223372036854775807"),
    ],
)
def test_a_dead_command_that_breaks_a_rule_is_a_usage_error(words: tuple[str, ...], message: str, cli: Run) -> None:
    cli("enqueue", "noop", "--symbols", "A")
    answer = cli("dead", *words)
    assert answer.code == 2
    assert message in answer.err


def test_no_dead_items(cli: Run) -> None:
    assert cli("dead", "list").out == "no dead items\n"
    assert cli("dead", "list", "--json").json == []
    assert cli("dead", "replay", "--all").out == "replayed 0 items\n"
    assert cli("dead", "purge", "--all", "--dry-run").out == "would purge 0 items\n"


@pytest.mark.usefixtures("worker")
def test_failed_items_are_exit_code_1_and_can_be_shown_replayed_and_purged(cli: Run) -> None:
    done = cli("enqueue", "ledger_entry", "--symbols", "A,B", *wait_for(60))
    assert done.code == 0
    assert "run 1: ledger_entry over A,B: COMPLETED\n" in done.out
    assert "  items      2 of 2 closed in " in done.out

    answer = cli(
        "enqueue",
        "misbehaving",
        "--symbols",
        "A,RAISE,PERMANENT",
        "--max-attempts",
        "2",
        "--wait",
        "--timeout",
        patient(60),
    )
    assert answer.code == 1
    assert "run 2: misbehaving over A,RAISE,PERMANENT: COMPLETED_WITH_ERRORS\n" in answer.out
    assert "  failed     2\n" in answer.out
    assert "RAISE (attempt 2): ValueError: RAISE cannot be computed" in answer.out
    assert "  list them: streamworkers dead list --run 2\n" in answer.out
    assert cli("runs", "watch", "2").code == 1
    watched = cli("runs", "watch", "2", "--json")
    assert (watched.code, watched.json["items"]["failed"]) == (1, 2)

    rows = cli("dead", "list", "--run", "2", "--json").json
    assert [(row["item"], row["symbol"], row["job"]) for row in rows] == [
        ("2:1", "RAISE", "misbehaving"),
        ("2:2", "PERMANENT", "misbehaving"),
    ]
    assert [len(cli("dead", "list", "--json", *words).json) for words in (
        ("--symbol", "RAISE"), ("--job", "noop"), ("--error-like", "such thing"), ("--since", "2000-01-01"),
        ("--since", "2999-01-01T00:00Z"), ("--limit", "1"),
    )] == [1, 0, 1, 2, 0, 1]  # fmt: skip
    assert cli("dead", "list").out.splitlines()[0].split() == ["item", "job", "symbol", "attempts", "died", "error"]
    shown = cli("dead", "show", "2:1")
    assert shown.out.startswith("2:1: RAISE died in attempt 2: ValueError: RAISE cannot be computed\n")
    assert "attempt  at" in shown.out
    assert "The newest attempt failed here:\n" in shown.out
    assert shown.out.rstrip().endswith('raise ValueError(f"{item.symbol} cannot be computed")')
    assert cli("dead", "show", "2:1", "--json").json["symbol"] == "RAISE"

    shown = cli("runs", "show", "2")
    assert "  errors     2 distinct\n" in shown.out
    assert "    1 items, the newest 2:1 RAISE: ValueError: RAISE cannot be computed\n" in shown.out
    assert 'raise ValueError(f"{item.symbol} cannot be computed")\n' in shown.out
    (permanent, error) = cli("runs", "show", "2", "--json").json["errors"]
    assert (error["item"], error["items"], error["attempt"], error["distinct"]) == ("2:1", 1, 2, 2)
    assert error["stack"].rstrip().endswith('raise ValueError(f"{item.symbol} cannot be computed")')
    assert permanent["error"] == "PermanentError: no such thing"
    assert cli("runs", "show", "2", "--json").json["undecided"] == []

    assert cli("dead", "replay", "--symbol", "RAISE", "--dry-run").out == "would replay 1 items\n"
    assert cli("dead", "replay", "2:1").out == "replayed 1 items\n"
    assert cli("runs", "watch", "2").code == 1
    assert cli("dead", "show", "2:1", "--json").json["attempt"] == 2
    assert cli("dead", "purge", "2:2").out == "purged 1 items\n"
    assert cli("dead", "purge", "--all", "--yes").out == "purged 1 items\n"
    assert cli("dead", "list", "--json").json == []


@pytest.mark.usefixtures("worker_of_all_jobs")
def test_an_analysis_from_bars_to_results(cli: Run, tmp_path: Path) -> None:
    cli("bars", "synthesize", "--symbols", "2", "--days", "300", "--end", "2013-03-01", "--universe", "made")
    answer = cli("enqueue", "analysis", "--universe", "made", *wait_for(60), "--param", "last_bars=20")
    assert answer.code == 0, answer
    assert "  as of      2013-03-01 (day)\n" in answer.out
    assert "  completed  2: 2 analysed, 0 stale\n" in answer.out

    results = cli("results", "SYN001", "--limit", "3", "--json").json
    assert len(results["indicators"]) >= 40
    assert len(results["patterns"]) == 3
    text = cli("results", "SYN001").out
    assert text.splitlines()[0].split()[:3] == ["indicator", "bar", "value"]
    assert "rsi_14" in text
    recent = cli("patterns", "recent", "--limit", "2", "--min-confidence", "0.1", "--json").json
    assert len(recent) == 2
    assert all(row["confidence"] >= 0.1 for row in recent)
    bullish = cli("patterns", "recent", "--direction", "bullish").out.splitlines()
    assert bullish[0].split() == ["bar", "symbol", "pattern", "direction", "confidence", "run"]
    assert all("bullish" in line for line in bullish[1:])


@pytest.mark.usefixtures("worker")
def test_a_run_of_a_job_that_no_process_has_loaded_says_so(cli: Run, connection: Connection, streams: Streams) -> None:
    wait_until(lambda: ledger.read_job_types(connection, "ledger_entry"), what="the pool records its jobs")
    heartbeats = streams.inspector.read_heartbeats
    wait_until(lambda: any("tests" in each.queues for each in heartbeats().values()), what="the worker is seen")
    connection.execute("DELETE FROM job_types WHERE name = 'ledger_entry'")  # recorded again after a minute
    answer = cli("enqueue", "ledger_entry", "--symbols", "A")
    message = "no process of the pool has job 'ledger_entry': restart the workers where its package is installed\n"
    assert (answer.code, answer.err) == (0, message)


def test_a_run_that_nobody_executes_says_why_when_it_is_shown_and_watched(cli: Run, connection: Connection) -> None:
    assert cli("enqueue", "ledger_entry", "--symbols", "A").code == 0
    silent = "no worker reads queue 'tests' now: start one with `streamworkers worker`\n"
    assert cli("runs", "show", "1").err == silent
    answer = cli("runs", "watch", "1", "--timeout", "0.1")
    assert answer.err.startswith(silent)
    assert answer.err.endswith("run 1 has not ended after 0.1 s. Watch it: streamworkers runs watch 1\n")
    connection.execute("UPDATE runs SET status = 'CANCELLED', completed_at = now()")
    assert cli("runs", "show", "1").err == ""


def test_ctrl_c_ends_the_waiting_and_not_the_run(environment: dict[str, str], cli: Run, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "streamworkers", "enqueue", "noop", "--symbols", "A", "--wait"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        try:
            assert waiting.stderr is not None
            assert waiting.stderr.readline().startswith("no worker reads queue 'bench'")
            waiting.send_signal(signal.SIGINT)
            out, err = waiting.communicate(timeout=patient(30))
        finally:
            waiting.kill()
    assert waiting.returncode == 130
    assert "run 1 continues. Watch it: streamworkers runs watch 1" in err
    assert "Traceback" not in out + err
    assert cli("runs", "list", "--json").json[0]["status"] == "PENDING"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--queue", "none"),
            "no job uses queue 'none'; known: alerts, analysis, bench, load, load_first, maintenance, notify, ",
        ),
        (("--queue", "tests", "--queue", "tests=1"), "queue 'tests' is named twice"),
        (("--queue", "tests=0"), "--queue 'tests=0': '0' is not a number of processes, at least 1"),
        (("--queue", "tests=3", "--processes", "2"), "ask for more than 2 processes"),
        (("--processes", "0"), "--processes '0' is not a whole number from 1 to 256"),
        (("--grace-seconds", "nan"), "--grace-seconds 'nan' is not a number of seconds, at least 0"),
    ],
)
def test_a_worker_with_wrong_words_does_not_start(words: tuple[str, ...], message: str, cli: Run) -> None:
    answer = cli("worker", *words)
    assert answer.code == 2
    assert message in answer.err


def test_a_worker_serves_the_queues_of_its_options(worker: Supervisor, cli: Run) -> None:
    assert worker.process.poll() is None
    wait_until(lambda: cli("enqueue", "noop", "--symbols", "A").err == "", what="its heartbeat names the queue")


def test_rejected_entries_are_listed_shown_and_purged(cli: Run, connection: Connection) -> None:
    assert cli("rejected", "list").out == "no rejected entries\n"
    for number, payload in enumerate((b"plain", b"\xc1\x00")):
        ledger.keep_rejected(connection, "tests", [Delivery("tests", f"{number}-0", payload)], "is no entry")
    listed = cli("rejected", "list")
    assert listed.out.splitlines()[0].split() == ["id", "queue", "entry", "bytes", "rejected", "error"]
    assert [row["entry_id"] for row in cli("rejected", "list", "--queue", "tests", "--json").json] == [
        "1-0",
        "0-0",
    ]
    assert cli("rejected", "list", "--queue", "analysis", "--json").json == []
    assert "there are rejected entries too: streamworkers rejected list" in cli("dead", "list").err
    assert cli("rejected", "show", "1").out == "tests 0-0, 5 bytes: is no entry\nplain\n"
    assert cli("rejected", "show", "2").out == "tests 1-0, 2 bytes: is no entry\n\\xc1\\x00\n"
    assert cli("rejected", "show", "2", "--json").json["payload_base64"] == "wQA="
    assert cli("rejected", "show", "1", "--raw").out == "plain"
    assert cli("rejected", "purge", "1").out == "purged 1 entries\n"
    assert cli("rejected", "purge", "--all", "--yes").out == "purged 1 entries\n"
    assert cli("rejected", "list").out == "no rejected entries\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("show", "7"), "no rejected entry has the id 7: see `streamworkers rejected list`"),
        (("purge",), "name ids or --all: exactly one of the two"),
        (("purge", "1", "--all"), "name ids or --all: exactly one of the two"),
    ],
)
def test_a_command_on_rejected_entries_that_breaks_a_rule_is_a_usage_error(
    words: tuple[str, ...], message: str, cli: Run
) -> None:
    answer = cli("rejected", *words)
    assert (answer.code, message in answer.err) == (2, True), answer


def test_the_former_name_of_rejected_works_with_a_warning(cli: Run) -> None:
    warning = (
        "Warning: `dead entries` is now `streamworkers rejected`; the old name will be removed in the next release\n"
    )
    answer = cli("dead", "entries", "list")
    assert (answer.code, answer.out, answer.err) == (0, "no rejected entries\n", warning)
    assert "entries" not in cli("dead", "--help").out.partition("Commands:")[2].replace("dead items", "")


def test_the_same_key_gives_the_same_run(cli: Run) -> None:
    first = cli("enqueue", "ledger_entry", "--symbols", "A,B", "--key", "tonight")
    assert first.out.startswith("run 1: 2 items")
    again = cli("enqueue", "ledger_entry", "--symbols", "A,B", "--key", "tonight")
    assert again.out == "run 1 has the key 'tonight' already and is PENDING; nothing was started\n"
    assert cli("enqueue", "ledger_entry", "--symbols", "A,B", "--key", "tonight", "--json").json["run_id"] == 1
    other = cli("enqueue", "noop", "--symbols", "A", "--key", "tonight")
    assert (other.code, other.err) == (2, "Error: key 'tonight' belongs to run 1 of job 'ledger_entry'\n")
    for key in ("", "x" * 201, "a\nb"):
        answer = cli("enqueue", "noop", "--symbols", "A", "--key", key)
        assert (answer.code, "is not 1 to 200 printable characters" in answer.err) == (2, True)
    assert len(cli("runs", "list", "--json").json) == 1


def test_a_job_that_chooses_its_items_needs_none(cli: Run) -> None:
    chosen = cli("enqueue", "choosing", "--param", 'chosen=["a b", "c"]')
    assert chosen.out.startswith("run 1: 2 items of choosing in queue tests\n")
    assert cli("enqueue", "choosing", "--param", "do=nothing").out.startswith("run 2: 0 items of choosing")
    shown = cli("runs", "show", "2")
    assert "COMPLETED\n  reason     no delivery waits\n" in shown.out
    assert cli("runs", "show", "2", "--json").json["reason"] == "no delivery waits"


def test_a_submitted_run_is_shown_before_it_is_prepared_and_after_it_was_rejected(
    cli: Run, connection: Connection, registry: Registry, pool: "ConnectionPool[Connection]", streams: Streams
) -> None:
    install_jobs(connection, registry)
    submit(connection, "choosing", parameters={"do": "reject"}, key="k")
    assert (
        "PENDING\n  prepared   not yet: a worker or scheduler that has the job does it\n"
        in cli("runs", "show", "1").out
    )
    make_preparer(pool, streams, registry).run_once()
    shown = cli("runs", "watch", "1")
    assert (shown.code, "FAILED\n  reason     the parameter do is not to my liking\n" in shown.out) == (1, True)
    (listed,) = cli("runs", "list", "--json").json
    assert (listed["idempotency_key"], listed["reason"]) == ("k", "the parameter do is not to my liking")
