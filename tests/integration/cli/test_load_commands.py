"""Loads and coverage from the command line."""

from datetime import timedelta
from pathlib import Path

import pytest

from command_line import Run, wait_for
from consumer import Consumer
from harness import Supervisor
from loading import stored_bars
from streamworkers.database import Connection
from streamworkers.market.universes.store import add_symbols


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of daily bars for the provider `csv`, with two missing days and one bad row."""
    folder = tmp_path / "bars" / "day"
    folder.mkdir(parents=True)
    monkeypatch.setenv("STREAMWORKERS_CSV_PATH", str(folder.parent))
    days = ("2025-11-03", "2025-11-04", "2025-11-05", "2025-11-07", "2025-11-10")
    rows = [f"{day},10,11,9,10.5,1000" for day in days] + ["2025-11-11,10,9,11,10.5,1000"]
    for symbol in ("AAA", "BBB"):
        (folder / f"{symbol}.csv").write_text("\n".join(["date,open,high,low,close,volume", *rows]) + "\n")
    return folder


RANGE = ("--from", "2025-11-03", "--to", "2025-11-11")


def test_a_load_reports_loaded_missing_and_rejected_bars(
    cli: Run, files: Path, consumer: Consumer, connection: Connection
) -> None:
    add_symbols(connection, "two", {"AAA", "BBB"})
    answer = cli("load", "--universe", "two", "--provider", "csv", "--timeframes", "day,week", *RANGE)
    assert answer.code == 0
    assert "run 1: 4 items of load_ohlcv in queue load" in answer.out
    assert "no worker reads queue 'load' now" in answer.err
    consumer.work_until_empty("load")
    answer = cli("runs", "show", "1")
    assert (
        "  day        10 bars of 2 symbols, 4 bars fewer than the sessions give, 2 symbols with rejected bars"
        in answer.out
    )
    assert "  week       4 bars of 2 symbols" in answer.out
    assert [row[1].isoformat() for row in stored_bars(connection, "week")] == ["2025-11-03", "2025-11-10"] * 2
    answer = cli("bars", "coverage", "--universe", "two", *RANGE)
    assert answer.code == 1
    assert "day bars of 2 symbols, 2025-11-03 to 2025-11-11: 10 of 14 (71.43%), 0 symbols complete" in answer.out
    assert "to load them: streamworkers load --universe two --timeframes day --from 2025-11-03" in answer.out
    assert cli("bars", "coverage", "--universe", "two", *RANGE, "--json").json["rows"] == [
        {"symbol": symbol, "expected": 7, "present": 5, "missing": 2} for symbol in ("AAA", "BBB")
    ]
    assert cli("bars", "gaps", "AAA", *RANGE, "--json").json == [
        {"first": "2025-11-06", "last": "2025-11-06", "bars": 1},
        {"first": "2025-11-11", "last": "2025-11-11", "bars": 1},
    ]
    complete = cli("bars", "gaps", "AAA", "--from", "2025-11-03", "--to", "2025-11-05")
    assert (complete.code, complete.out) == (0, "no gaps in the day bars of AAA, 2025-11-03 to 2025-11-05\n")


def test_minutes_are_covered_by_sessions(cli: Run, connection: Connection) -> None:
    add_symbols(connection, "one", {"AAA"})
    connection.execute(
        "SELECT ensure_ohlcv_1min_partition('2025-11-28 15:00+00');"
        " INSERT INTO ohlcv_1min SELECT 'AAA', moment, 1, 1, 1, 1, 1 FROM generate_series("
        "timestamptz '2025-11-28 09:30 America/New_York', timestamptz '2025-11-28 13:05 America/New_York',"
        " interval '1 minute') AS moment WHERE extract(minute FROM moment) <> 45"
    )
    words = ("--timeframe", "1min", "--from", "2025-11-27", "--to", "2025-11-30")
    [row] = cli("bars", "coverage", "--universe", "one", *words, "--json").json["rows"]
    assert row == {"symbol": "AAA", "expected": 210, "present": 206, "missing": 4}
    answer = cli("bars", "gaps", "AAA", *words)
    assert [line.split()[1] for line in answer.out.splitlines()[1:]] == ["09:45", "10:45", "11:45", "12:45"]


def test_a_load_waits_for_its_run(cli: Run, files: Path, worker_of_all_jobs: Supervisor) -> None:
    answer = cli("load", "--symbols", "AAA,CCC", "--provider", "synthetic", "--years", "1", *wait_for(60))
    assert answer.code == 0, answer.err
    assert "run 1: load_ohlcv over AAA,CCC: COMPLETED" in answer.out
    assert "bars of 2 symbols" in answer.out


def test_a_long_load_says_what_it_takes_and_offers_the_newest_days(
    cli: Run, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMWORKERS_MASSIVE_CALLS_PER_MINUTE", "5")
    symbols = [f"SYMBOL{number}" for number in range(400)]
    add_symbols(connection, "many", set(symbols))
    said = cli("load", "--universe", "many", "--years", "2").out
    assert "about 400 calls to massive, at 5 a minute about 80 minutes" in said
    offer = next(line for line in said.splitlines() if "the newest 5 days alone take 5 calls" in line)
    command = offer.partition(": streamworkers ")[2].split()
    assert command[:6] == ["load", "--universe", "many", "--timeframes", "day", "--from"]
    cheaper = cli(*command).out  # the days of a run that waits for its plan's newest one, too
    assert "calls to massive" in cheaper
    assert "alone take" not in cheaper
    calls = int(cheaper.partition("about ")[2].split()[0])
    assert calls <= 6
    # In what is listed a run of many symbols is a line, and says when it is done.
    assert "alone take" in cli("load", "--symbols", ",".join(symbols), "--years", "2").out
    listed = [cli("runs", "list").out, cli("runs", "show", "3").out]
    assert max(len(line) for text in listed for line in text.splitlines()) < 300
    assert "  done       about " in listed[1]
    assert ", 400 calls left" in listed[1]
    shown = cli("runs", "show", "3", "--json").json
    assert (shown["calls_left"], shown["eta"] is not None) == (400, True)
    assert len(shown["target"]) > 3000
    [row] = [row for row in cli("status", "--json").json["open_runs"] if row["run_id"] == 3]
    assert (row["calls_left"], row["eta"] is not None) == (400, True)


def test_a_key_starts_a_load_once_and_the_analysis_needs_a_scheduler(cli: Run) -> None:
    words = ("load", "--symbols", "AAA", "--provider", "synthetic", "--key", "k", "--analyze")
    first, second = cli(*words), cli(*words)
    assert "the analysis starts after the load if a scheduler is running" in first.err
    assert "run 1 has the key 'k' already and is PENDING; nothing was started" in second.out


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "name either --universe or --symbols"),
        (("--universe", "u", "--symbols", "A"), "name either --universe or --symbols"),
        (("--symbols", "A", "--timeout", "5"), "--timeout needs --wait"),
        (("--symbols", "A", "--years", "1", "--from", "2025-01-01"), "name either --years or --from"),
        (("--symbols", "A", "--to", "2025-01-01"), "--to needs --from or --years"),
        (("--symbols", "A", "--timeframes", "2min"), "timeframe '2min' is not one of 1min, hour, day, week, month"),
        (("--symbols", "A", "--timeframes", ","), "--timeframes ',' names no timeframe"),
        (("--symbols", "A", "--provider", "sampl"), "no provider is named 'sampl'; did you mean 'sample'?"),
        (("--universe", "nothing"), "no universe is named 'nothing'"),
    ],
)
def test_contradictory_options_are_rejected(words: tuple[str, ...], error: str, cli: Run) -> None:
    answer = cli("load", *words)
    assert answer.code == 2
    assert error in answer.err


@pytest.mark.parametrize(
    ("provider", "missing"),
    [
        ("massive", "the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY"),
        ("csv", "the provider csv needs a folder, a file or a path in STREAMWORKERS_CSV_PATH"),
    ],
)
def test_a_setting_that_a_provider_lacks_here_is_named_when_the_load_is_asked_for(
    cli: Run, monkeypatch: pytest.MonkeyPatch, provider: str, missing: str
) -> None:
    for variable in ("MASSIVE_API_KEY", "CSV_PATH"):
        monkeypatch.delenv(f"STREAMWORKERS_{variable}", raising=False)
    warning = f"warning: {missing}: it is not set here, and a worker without it ends the run"
    assert warning in cli("load", "--symbols", "A", "--provider", provider).err
    assert warning in cli("enqueue", "load_ohlcv", "--symbols", "A", "--param", f"provider={provider}").err
    monkeypatch.setenv("STREAMWORKERS_MASSIVE_API_KEY", "key")
    monkeypatch.setenv("STREAMWORKERS_CSV_PATH", "/")
    assert "warning" not in cli("load", "--symbols", "A", "--provider", provider).err


def test_a_missing_key_ends_the_run_at_its_first_attempt(
    cli: Run, worker_of_all_jobs: Supervisor, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STREAMWORKERS_MASSIVE_API_KEY", raising=False)
    answer = cli("load", "--symbols", "A,B,C", "--provider", "massive", *wait_for(60))
    assert answer.code == 1
    (status, reason) = connection.execute("SELECT status, reason FROM runs").fetchone() or ("", "")
    assert (status, reason) == (
        "FAILED",
        "UsageError: the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY",
    )
    items = connection.execute("SELECT status, attempt FROM run_items ORDER BY status").fetchall()
    assert sorted(status for status, _ in items) == ["cancelled", "cancelled", "failed"]
    assert max(attempt for _, attempt in items) <= 1


def test_a_range_that_ends_before_it_begins_is_rejected(cli: Run) -> None:
    answer = cli("bars", "gaps", "A", "--from", "2025-02-01", "--to", "2025-01-01")
    assert (answer.code, answer.err) == (2, "Error: --from 2025-02-01 is after --to 2025-01-01\n")


def test_pages_of_abandoned_loads_are_deleted(cli: Run, connection: Connection, consumer: Consumer) -> None:
    for age in (timedelta(days=1), timedelta(days=8)):
        connection.execute(
            "INSERT INTO load_checkpoints (run_id, key, page, packed, fetched_at) VALUES (1, %s, 0, '', now() - %s)",
            (str(age), age),
        )
    rows = {row["table"]: row["removed"] for row in cli("cleanup", "--yes", "--json").json}
    assert rows["load_checkpoints"] == 1
