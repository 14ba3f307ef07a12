"""`--as-of` and `calendars` on the command line."""

from datetime import date

import pytest

from command_line import Run
from streamworkers.database import Connection
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        (("--as-of", "2024-07-02"), "2024-07-02 16:00:00-04"),
        (("--as-of", "2024-07-03"), "2024-07-03 13:00:00-04"),  # an early close
        (("--as-of", "2024-07-04"), "2024-07-03 13:00:00-04"),  # a holiday
        (("--as-of", "2024-07-07", "--timeframe", "hour"), "2024-07-05 16:00:00-04"),  # a Sunday
        (("--as-of", "2024-12-02T10:00"), "2024-12-02 10:00:00-05"),
        (("--as-of", "2024-12-02T10:00Z"), "2024-12-02 05:00:00-05"),
        (("--as-of", "2024-12-02T10:00+09:00"), "2024-12-01 20:00:00-05"),
    ],
)
def test_a_date_is_the_end_of_its_session_and_a_time_is_of_new_york(
    words: tuple[str, ...], moment: str, cli: Run, connection: Connection
) -> None:
    assert cli("enqueue", "ledger_entry", "--symbols", "A", *words).code == 0
    row = connection.execute("SELECT as_of = %s FROM runs", (moment,)).fetchone()
    assert row == (True,)


def test_an_as_of_that_is_no_close_is_named_with_the_close_that_the_run_sees(cli: Run, connection: Connection) -> None:
    load_rows(connection, TIMEFRAMES["day"], generate_bars(1, 60, 7, date(2024, 7, 31)))
    for text, shown in {
        "2024-07-04": "2024-07-03 13:00 EDT",  # a holiday
        "2024-07-06": "2024-07-05 16:00 EDT",  # a Saturday
        "2024-07-02T12:00": "2024-07-01 16:00 EDT",  # within a session
    }.items():
        answer = cli("enqueue", "analysis", "--symbols", "SYN001", "--as-of", text)
        assert f"note: --as-of {text} is as of {shown}, the newest close up to it\n" in answer.err
    for text in ("2024-07-02", "2024-07-03", "2024-07-03T13:00", "2024-07-02T20:00Z"):
        assert "note" not in cli("enqueue", "analysis", "--symbols", "SYN001", "--as-of", text).err


def test_a_date_ends_with_the_last_session_of_all_calendars_of_the_symbols(cli: Run, connection: Connection) -> None:
    assert cli("calendars", "set", "24/7", "--symbols", "X:*").out == "calendar 24/7 is set for X:*\n"
    for symbols, moment in (("X:BTC,A", "2024-07-03 00:00Z"), ("A", "2024-07-02 20:00Z")):
        assert cli("enqueue", "ledger_entry", "--symbols", symbols, "--as-of", "2024-07-02").code == 0
        row = connection.execute("SELECT as_of = %s FROM runs ORDER BY id DESC LIMIT 1", (moment,)).fetchone()
        assert row == (True,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2090-01-01", "T16:00:00-05:00 is in the future: leave it out, and the run sees what is there now"),
        ("2090-01-01T00:00Z", "as-of 2090-01-01T00:00:00+00:00 is in the future"),
        ("1890-01-02", "as-of 1890-01-02T12:00:00+00:00 is before 1900: no calendar reaches so far back"),
    ],
)
def test_an_as_of_in_the_future_or_before_all_calendars_is_rejected(text: str, message: str, cli: Run) -> None:
    answer = cli("enqueue", "noop", "--symbols", "A", "--as-of", text)
    assert answer.code == 2
    assert message in answer.err
    assert cli("runs", "list", "--json").json == []


def test_calendars_are_set_listed_and_unset(cli: Run) -> None:
    assert cli("calendars", "list", "--json").json == [{"symbols": "*", "calendar": "XNYS"}]
    assert cli("calendars", "set", "24/7", "--symbols", "X:*,*-USD").out == "calendar 24/7 is set for 2 symbols\n"
    assert cli("calendars", "list").out.splitlines()[1:] == ["*        XNYS", "*-USD    24/7", "X:*      24/7"]
    assert cli("calendars", "unset", "--symbols", "X:*").out == "removed: X:*\n"
    assert [row["symbols"] for row in cli("calendars", "list", "--json").json] == ["*", "*-USD"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("set", "24/7"), "name either --symbols or --universe"),
        (("set", "24/7", "--symbols", ","), "',' names no symbols"),
        (("set", "24/7", "--symbols", "*A*"), "the pattern '*A*' has more than one *"),
        (("set", "24/8", "--symbols", "A"), "no calendar is named '24/8'; did you mean '24/7'"),
        (("set", "24/7", "--universe", "crypto"), "no universe is named 'crypto'"),
        (("unset", "--symbols", "A"), "no calendar rule is named 'A'"),
    ],
)
def test_a_calendar_rule_that_is_none_is_rejected(words: tuple[str, ...], message: str, cli: Run) -> None:
    answer = cli("calendars", *words)
    assert answer.code == 2
    assert message in answer.err


@pytest.mark.usefixtures("worker_of_all_jobs")
def test_waiting_for_a_run_most_of_whose_symbols_are_stale_exits_with_1(cli: Run, connection: Connection) -> None:
    load_rows(connection, TIMEFRAMES["day"], generate_bars(3, 60, 7, date(2024, 6, 28)))
    connection.execute("DELETE FROM ohlcv_daily WHERE symbol <> 'SYN001' AND date > '2024-06-20'")
    words = ("enqueue", "indicators", "--symbols", "SYN001,SYN002,SYN003", "--as-of", "2024-06-28", "--wait")
    answer = cli(*words)
    assert answer.code == 1
    assert "COMPLETED_WITH_ERRORS" in answer.out
    assert "  no success because more than 50% of the symbols are stale: load their bars\n" in answer.out
    assert "  stale      SYN002 (2024-06-20), SYN003 (2024-06-20)\n" in answer.out
    found = [row for row in cli("doctor", "--json").json if row["kind"] == "stale_run"]
    assert [row["what"] for row in found] == [
        "2 of its 3 symbols (SYN001,SYN002,SYN003) are stale: they have no day bar as of 2024-06-28 16:00 EDT"
    ]
    assert cli("status").code == 1
    summary = cli(*words, "--param", "max_stale=0.9", "--json")
    assert (summary.code, summary.json["stale_count"], summary.json["max_stale"]) == (0, 2, 0.9)
