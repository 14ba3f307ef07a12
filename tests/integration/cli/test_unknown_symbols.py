"""A symbol of which nothing is stored is said when it is named, for the jobs that need its bars."""

from pathlib import Path

import pytest

from command_line import Run as Command
from streamworkers.database import Connection

SLIP = "warning: no bars of aapl, NOPE are stored; did you mean AAPL?\n"
SCHEDULE = "- {name: mine, job: indicators, cron: '@daily', timeframe: day, target: {symbols: [AAPL, aapl, NOPE]}}"
SYMBOLS = ("--symbols", "AAPL,aapl,NOPE")
IMPORT = ("schedules", "import", "mine.yaml")


@pytest.fixture
def stored(connection: Connection) -> None:
    """Bars of one symbol."""
    connection.execute("INSERT INTO ohlcv_daily VALUES ('AAPL', '2026-01-02', 1, 1, 1, 1, 1)")


@pytest.mark.usefixtures("stored")
def test_every_command_that_names_symbols_warns_of_those_without_bars(cli: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SCHEDULE, encoding="utf-8")
    for words in (
        ("enqueue", "indicators", *SYMBOLS),
        ("schedules", "add", "yours", "--job", "indicators", "--cron", "@daily", *SYMBOLS),
        ("schedules", "edit", "yours", "--job", "patterns"),
        IMPORT,
    ):
        answer = cli(*words)
        assert (answer.code, SLIP in answer.err) == (0, True), (words, answer)
    alone = cli("schedules", "edit", "yours", "--symbols", "NOPE").err
    assert alone == "warning: no bars of NOPE are stored; `streamworkers load --symbols` loads them\n"


@pytest.mark.usefixtures("stored")
def test_nobody_is_warned_of_symbols_that_are_stored_or_that_a_job_may_not_know(cli: Command) -> None:
    assert "no bars" not in cli("enqueue", "indicators", "--symbols", "AAPL").err
    assert "no bars" not in cli("enqueue", "ledger_entry", "--symbols", "NOPE").err
