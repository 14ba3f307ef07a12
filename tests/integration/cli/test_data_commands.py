"""Bars, universes, indicators, patterns and results from the command line."""

import csv
import gzip
from pathlib import Path

import pytest

from command_line import Run
from streamworkers.database import Connection

GOOD = """Symbol,DATE,Close,Open,High,Low,Volume
NA,2021-05-13,10.5,10,11,9.5,1000
NA,2021-05-14,10.75,10.5,11,10,2000
MSFT,2021-05-14,240,241,245,239,30000
"""
BAD_ROWS = """NA,2021-05-12,20,10,11,9,100
NA,not-a-day,10,10,11,9,100
"""


@pytest.fixture
def bars_file(tmp_path: Path) -> Path:
    path = tmp_path / "bars.csv"
    path.write_text(GOOD)
    return path


def test_bars_are_imported_and_again_nothing_changes(cli: Run, bars_file: Path) -> None:
    first = cli("bars", "import", bars_file, "--timeframe", "daily")
    assert first.code == 0
    assert first.out == (
        "3 of 3 day bars loaded: 2 symbols, 2021-05-13 to 2021-05-14\n  3 new, 0 changed, 0 unchanged\n"
    )
    again = cli("bars", "import", bars_file, "--json").json
    assert (again["inserted"], again["updated"], again["unchanged"], again["loaded"]) == (0, 0, 3, 3)
    assert (again["first"], again["last"], again["symbols"]) == ("2021-05-13", "2021-05-14", 2)


def test_bars_that_another_program_has_changed_are_announced_by_their_first_day(
    cli: Run, bars_file: Path, connection: Connection
) -> None:
    cli("bars", "import", bars_file)
    assert cli("bars", "announce", "NA", "--timeframe", "week").out == (
        "recorded: week bars of 1 symbols were appended, nobody knows which\n"
    )
    assert cli("bars", "announce", "NA", "MSFT", "--since", "2021-05-14").out == (
        "recorded: day bars of 2 symbols were changed from 2021-05-14 on\n"
    )
    marks = connection.execute("SELECT DISTINCT version, outdated_patterns_from::date::text FROM series_state")
    assert marks.fetchall() == [(1, "2021-05-14")]
    cli("bars", "announce", "NA", "--since", "2021-05-14", "--timeframe", "1w")  # no bar of a week is stored
    assert connection.execute("SELECT count(*) FROM series_versions").fetchone() == (2,)


def test_a_gzip_file_is_imported_into_a_universe(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv.gz"
    path.write_bytes(gzip.compress(GOOD.encode()))
    assert cli("bars", "import", path, "--universe", "mine").code == 0
    assert cli("universes", "show", "mine", "--json").json["symbols"] == ["MSFT", "NA"]


def test_bad_rows_are_counted_shown_and_written(cli: Run, bars_file: Path, tmp_path: Path) -> None:
    bars_file.write_text(GOOD + BAD_ROWS)
    rejects = tmp_path / "rejects.csv"
    answer = cli("bars", "import", bars_file, "--rejects", rejects)
    assert answer.code == 0
    assert "3 of 5 day bars loaded" in answer.out
    assert "  2 rejected:" in answer.out
    assert "bars.csv line 5: " in answer.out
    assert f"all rejected rows: {rejects}" in answer.out
    with rejects.open(newline="") as stream:
        assert [row["line"] for row in csv.DictReader(stream)] == ["5", "6"]
    assert "to write all rejected rows to a file: --rejects FILE" in cli("bars", "import", bars_file).out
    summary = cli("bars", "import", bars_file, "--json").json
    assert sum(summary["rejected"].values()) == 2
    assert [example["line"] for example in summary["examples"]] == [5, 6]


def test_a_file_with_only_bad_rows_loads_nothing(cli: Run, bars_file: Path) -> None:
    bars_file.write_text(GOOD.splitlines()[0] + "\n" + BAD_ROWS)
    answer = cli("bars", "import", bars_file)
    assert "0 of 2 day bars loaded: 0 symbols\n" in answer.out
    assert answer.code == 1


def test_a_download_is_tried_first_and_then_imported_with_what_was_assumed(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "download.csv"
    path.write_text(
        "Date,Open,High,Low,Close,Adj Close\n2021-05-13,10,12,9,11,5.5\n2021-05-14,null,null,null,null,null\n"
    )
    trial = cli("bars", "import", path, "--symbol", "ABC", "--dry-run")
    assert trial.code == 0
    assert trial.out.splitlines() == [
        f"{path}: 1 day bars, 1 rows rejected; not loaded",
        "  assumed, layout: yahoo (Yahoo Finance, and yfinance with one row of header)",
        "  assumed, volume: not known, because there is no column of it",
        "  assumed, prices: as they stand, not adjusted by the column 'adj close' (--adjusted does that)",
        "  line 2: ABC 2021-05-13 open 10 high 12 low 9 close 11 volume not known",
        "  line 3 rejected, no_prices: the row has no prices: open is 'null'",
    ]
    assert cli("bars", "import", path, "--symbol", "ABC", "--dry-run", "--json").json[0]["bars"] == [
        {
            "line": 2,
            "symbol": "ABC",
            "time": "2021-05-13",
            "open": "10",
            "high": "12",
            "low": "9",
            "close": "11",
            "volume": None,
        }
    ]
    assert "no bars of ABC are stored" in cli("bars", "show", "ABC", "--json").err
    answer = cli("bars", "import", path, "--symbol", "ABC", "--adjusted")
    assert "  assumed, prices: adjusted, by the column 'adj close'" in answer.out
    assert cli("bars", "show", "ABC", "--json").json == [
        {"time": "2021-05-13", "open": 5.0, "high": 6.0, "low": 4.5, "close": 5.5, "volume": None}
    ]
    assert cli("bars", "show", "ABC").out.splitlines()[1].split() == ["2021-05-13", "5", "6", "4.5", "5.5"]


def test_rounded_volumes_and_marked_rows_are_said(cli: Run, bars_file: Path) -> None:
    closes = [400, 401, 100, 101]
    days = ["2021-05-10", "2021-05-11", "2021-05-12", "2021-05-13"]
    bars_file.write_text(
        "symbol,date,open,high,low,close,volume\n"
        + "".join(f"A,{day},{close},{close},{close},{close},0.5\n" for day, close in zip(days, closes, strict=True))
    )
    answer = cli("bars", "import", bars_file)
    assert "  4 volumes rounded to whole shares\n  1 loaded, but marked:\n    1 price_jump\n" in answer.out


def test_a_symbol_with_adjusted_bars_of_a_load_is_named(cli: Run, bars_file: Path, connection: Connection) -> None:
    connection.execute(
        "INSERT INTO series_sources (symbol, timeframe, provider, adjusted, hours, hour_anchor, adjusted_on,"
        " fetched_at, run_id) VALUES ('NA', 'day', 'massive', true, 'regular', 'clock', '2021-05-14', now(), 1)"
    )
    assert cli("bars", "import", bars_file, "--json").json["adjusted_before"] == ["NA"]
    assert (
        "  warning: a load stored adjusted prices of 1 of these symbols (NA); those of the files are stored as they"
        " stand\n"
    ) in cli("bars", "import", bars_file).out


def test_the_rejects_never_overwrite_the_file_to_import(cli: Run, bars_file: Path) -> None:
    answer = cli("bars", "import", bars_file, "--rejects", bars_file)
    assert answer.code == 2
    assert "is one of the files to import; it would be overwritten" in answer.err
    assert bars_file.read_text() == GOOD


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bars", "import"), "the argument FILES is missing"),
        (("bars", "import", "nowhere.csv"), "'nowhere.csv' does not exist"),
        (("bars", "import", "bars.csv", "--timeframe", "2day"), "timeframe '2day' is not one of 1min, hour, day"),
        (("bars", "import", "bars.csv", "--universe", "a b"), "universe 'a b' is not a name of 1 to 64 letters"),
        (("bars", "import", "bars.csv", "--rejects", "no/dir.csv"), "cannot be written: No such file or directory"),
        (("bars", "import", "bars.csv", "--timezone", "Mars/Base"), "the zone 'Mars/Base' is not a name such as UTC"),
        (("bars", "import", "bars.csv", "--calendar", "XNYZ"), "no calendar is named 'XNYZ'; did you mean 'XNZE'?"),
        (("bars", "import", "bars.csv", "--max-refused", "much"), "'much' is not a number of rows, nor a percentage"),
        (("bars", "import", "bars.csv", "--max-rejected", "101%"), "'101%' is not a number of rows, nor a percentage"),
        (("bars", "import", "bars.csv", "--layout", "x"), "'x' is not one of"),
        (("bars", "import", "bars.csv", "--symbol", "A"), "has a column 'symbol' of symbols; --symbol is for files"),
        (("bars", "import", "empty.csv"), "empty.csv is empty; its first line must name the columns"),
        (("bars", "synthesize", "--symbols", "0"), "--symbols '0' is not a whole number from 1 to 100000"),
        (("bars", "synthesize", "--end", "soon"), "--end 'soon' is not a date YYYY-MM-DD"),
        (("bars", "sample", "--universe", ""), "universe '' is not a name of 1 to 64 letters"),
        (("bars", "show", "AAPL", "--timeframe", "x"), "timeframe 'x' is not one of"),
        (("bars", "show", "A\udcff"), "an argument is not UTF-8"),
        (("universes", "show", "nothing"), "no universe is named 'nothing'; there is no universe yet"),
        (("universes", "import", "bars.csv"), "universe"),
        (("indicators", "add", "x", "RSII"), "no indicator function is named 'RSII'; did you mean 'RSI'?"),
        (("indicators", "add", "x", "RSI", "timeperiod"), "parameter 'timeperiod' is not NAME=VALUE"),
        (("indicators", "add", "x", "RSI", "timeperiod=0"), "timeperiod"),
        (("indicators", "add", "rsi_14", "RSI"), "indicator 'rsi_14' already exists: choose another name"),
        (("indicators", "add", "x", "RSI", "--timeframe", "2day"), "timeframe '2day' is not one of"),
        (("indicators", "enable", "rsi_15"), "no indicator is named 'rsi_15'; did you mean 'rsi_14'?"),
        (("patterns", "disable", "hamer"), "no pattern is named 'hamer'; did you mean 'hammer'?"),
        (("patterns", "recent", "--direction", "up"), "'up' is not one of"),
        (("patterns", "recent", "--min-confidence", "2"), "--min-confidence '2' is not a number from 0 to 1"),
        (("results", "AAPL", "--timeframe", "x"), "timeframe 'x' is not one of"),
    ],
)
def test_input_that_breaks_a_rule_is_a_usage_error(
    words: tuple[str, ...], message: str, cli: Run, bars_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty.csv").touch()
    answer = cli(*words)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert "no bars of NA are stored" in cli("bars", "show", "NA", "--json").err


def test_bars_are_shown_oldest_first_up_to_the_limit(cli: Run, bars_file: Path) -> None:
    cli("bars", "import", bars_file)
    assert [line.split() for line in cli("bars", "show", "NA").out.splitlines()] == [
        ["time", "open", "high", "low", "close", "volume"],
        ["2021-05-13", "10", "11", "9.5", "10.5", "1,000"],
        ["2021-05-14", "10.5", "11", "10", "10.75", "2,000"],
    ]
    assert cli("bars", "show", "NA", "--limit", "1", "--json").json == [
        {"time": "2021-05-14", "open": 10.5, "high": 11.0, "low": 10.0, "close": 10.75, "volume": 2000}
    ]
    assert cli("bars", "show", "NA", "--timeframe", "week").out == "no week bars of NA\n"


def test_no_name_of_a_file_and_no_stored_text_steers_the_terminal(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\u202eb.csv"
    path.write_text(GOOD + BAD_ROWS)
    shown = cli("bars", "import", path).out
    assert "a\\x1b[31m\\u202eb.csv line 5: high 11 is below close 20" in shown
    (tmp_path / "universes.csv").write_text("universe,symbol,description\nmine,A,\x1b]0;title\x07\n")
    assert cli("universes", "import", "universes.csv").code == 0
    (tmp_path / "\x1b[2J.yaml").write_text("[")
    answers = [shown, cli("universes", "list").out, cli("schedules", "import", tmp_path / "\x1b[2J.yaml").err]
    assert [("\x1b" in text, "\\x1b" in text) for text in answers] == [(False, True)] * 3
    for words in (("schedules", "export"), ("alerts", "export"), ("results", "export")):
        missing = cli(*words, tmp_path / "no" / "such.csv")
        assert (missing.code, "cannot be written: No such file or directory" in missing.err) == (2, True), missing


def test_intraday_bars_are_shown_in_new_york(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "hours.csv"
    path.write_text("symbol,timestamp,open,high,low,close,volume\nA,2021-05-14T14:30:00Z,1,2,1,2,5\n")
    assert cli("bars", "import", path, "--timeframe", "hourly").code == 0
    assert "2021-05-14 10:30" in cli("bars", "show", "A", "--timeframe", "hour").out
    assert cli("bars", "show", "A", "--timeframe", "hour", "--json").json[0]["time"] == "2021-05-14T14:30:00+00:00"


def test_sample_and_synthetic_bars(cli: Run) -> None:
    sample = cli("bars", "sample", "--universe", "five")
    assert sample.code == 0
    assert sample.out.startswith("12,154 day bars of 5 symbols, 2000-03-01 to 2013-03-01: 12,154 new,")
    assert sample.out.endswith("added to universe five\n")
    words = ("bars", "synthesize", "--symbols", "3", "--days", "20", "--end", "2013-03-01", "--universe", "made")
    assert "60 day bars of 3 symbols" in cli(*words).out
    assert "60 unchanged" in cli(*words).out
    union = cli("universes", "show", "five:made")
    assert union.out == "five:made: 8 symbols\nAAPL FB GOOG IBM MSFT SYN001 SYN002 SYN003\n"


def test_universes_are_imported_and_listed(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "universes.csv"
    path.write_text("universe,symbol,type\na,X,ETF\na,Y,ETF\nb,Y,\nb,Z Z,\n")
    assert "no universes yet" in cli("universes", "list").out
    answer = cli("universes", "import", path)
    assert answer.code == 0
    assert answer.out.startswith("4 rows, 2 universes: 3 symbols added, 0 removed, 0 unchanged\n  rejected line 5: ")
    rows = cli("universes", "list", "--json").json
    assert [(row["name"], row["type"], row["symbols"]) for row in rows] == [("a", "ETF", 2), ("b", "UNIVERSE", 1)]
    assert cli("universes", "list").out.splitlines()[1].split() == ["a", "ETF", "2"]
    assert cli("universes", "show", "a:b", "--json").json == {"universe": "a:b", "count": 2, "symbols": ["X", "Y"]}
    assert "did you mean 'a'" not in cli("universes", "show", "a:c").out


def test_indicators_can_be_added_enabled_and_disabled(cli: Run) -> None:
    added = cli("indicators", "add", "rsi_7", "RSI", "timeperiod=7", "--timeframe", "daily")
    assert (added.code, added.out) == (0, "added rsi_7; it is computed from the next run on\n")
    assert cli("indicators", "disable", "rsi_14").out == "rsi_14 is disabled\n"
    rows = {row["name"]: row for row in cli("indicators", "list", "--json").json}
    assert rows["rsi_7"] == {
        "name": "rsi_7", "function": "RSI", "params": {"timeperiod": 7}, "timeframes": ["day"], "enabled": True
    }  # fmt: skip
    assert not rows["rsi_14"]["enabled"]
    enabled = [row["name"] for row in cli("indicators", "list", "--enabled", "--json").json]
    assert "rsi_7" in enabled
    assert "rsi_14" not in enabled
    assert cli("indicators", "enable", "rsi_14").code == 0
    lines = [line.split() for line in cli("indicators", "list").out.splitlines()]
    assert ["rsi_7", "RSI", "timeperiod=7", "day", "yes"] in lines
    assert ["rsi_14", "RSI", "timeperiod=14", "all", "yes"] in lines


def test_patterns_can_be_enabled_and_disabled(cli: Run) -> None:
    assert cli("patterns", "disable", "hammer").out == "hammer is disabled\n"
    assert "hammer" not in [row["name"] for row in cli("patterns", "list", "--enabled", "--json").json]
    assert cli("patterns", "enable", "hammer").code == 0
    assert any(line.split()[::3] == ["hammer", "yes"] for line in cli("patterns", "list").out.splitlines())


def test_results_without_any_run_are_empty(cli: Run, bars_file: Path) -> None:
    cli("bars", "import", bars_file)
    assert cli("results", "NA").out == "no indicators of NA\n\nno patterns of NA\n"
    empty = {"symbol": "NA", "timeframe": "day", "indicators": [], "patterns": []}
    assert cli("results", "NA", "--timeframe", "daily", "--json").json == empty
    assert cli("patterns", "recent").out == "no patterns found\n"
    assert cli("patterns", "recent", "--json").json == []
