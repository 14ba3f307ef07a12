"""`streamworkers alerts test`: when an alert would have fired on the stored bars of a symbol."""

import json

import pytest

from command_line import Run
from streamworkers.database import Connection

PRICES = [100, 101, 99, 103, 104, 98, 97, 105]
BEFORE_1900 = "Error: as-of 1850-01-01T00:00:00+00:00 is before 1900: no calendar reaches so far back\n"
DAYS = [3, 4, 5, 6, 7, 10, 11, 12]  # sessions of November 2025


@pytest.fixture
def bars(cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command line, with eight closed days of AAA."""
    lines = [f"AAA,2025-11-{day:02},{p},{p},{p},{p},1000" for day, p in zip(DAYS, PRICES, strict=True)]
    file = tmp_path_factory.mktemp("bars") / "bars.csv"
    file.write_text("\n".join(["symbol,date,open,high,low,close,volume", *lines]), encoding="utf-8")
    assert cli("bars", "import", file).code == 0
    return cli


def _fired(answer: object) -> list[str]:
    assert isinstance(answer, dict)
    return [each["bar"][:10] for each in answer["decisions"] if each["fires"]]


def test_it_prints_what_happens_and_why(bars: Run) -> None:
    answer = bars("alerts", "test", "AAA > 102")
    assert answer.code == 0, answer.err
    assert [line.split(maxsplit=4) for line in answer.out.splitlines()] == [
        ["bar", "price", "value", "level", "rule   before  after  fires  why"],
        ["2025-11-06", "103.0000", "103.0000", "102.0000", "true   armed   fired  yes    fires"],
        ["2025-11-10", "98.0000", "98.0000", "102.0000", "false  fired   armed  no     released, false: price > 102"],
        ["2025-11-12", "105.0000", "105.0000", "102.0000", "true   armed   fired  yes    fires"],
        ["fires", "2", "times", "in", "8 day bars of AAA, 2025-11-03 to 2025-11-12; fired after them"],
    ]


def test_a_period_has_the_bars_before_it_as_history(bars: Run) -> None:
    text = "AAA crosses_above sma(3)"
    whole = bars("alerts", "test", text, "--json").json
    assert (whole["bars"], whole["unknown"], _fired(whole)) == (8, 2, ["2025-11-06", "2025-11-12"])
    part = bars("alerts", "test", text, "--json", "--since", "2025-11-06").json
    assert (part["bars"], part["unknown"], _fired(part)) == (5, 0, ["2025-11-06", "2025-11-12"])
    early = bars("alerts", "test", text, "--json", "--as-of", "2025-11-11").json
    assert (early["last"][:10], _fired(early)) == ("2025-11-11", ["2025-11-06"])
    during = bars("alerts", "test", text, "--json", "--as-of", "2025-11-12T12:00").json
    assert during["last"][:10] == "2025-11-11"


def test_a_document_is_tried_on_a_symbol_and_shows_its_messages(bars: Run) -> None:
    document = {
        "tickers": ["AAA", "BBB"],
        "timeframe": "1d",
        "rule": {"indicator": "price", "operator": ">", "value": 104},
        "notify": {"message_template": "{ticker} {price:.1f} > {level} {closed_at} #{fires}"},
    }
    answer = bars("alerts", "test", json.dumps(document), "--symbol", "AAA", "--all", "--json").json
    assert len(answer["decisions"]) == answer["bars"] == 8
    assert [each["message"] for each in answer["decisions"] if each["fires"]] == [
        "AAA 105.0 > 104 2025-11-12 16:00 EST #1"
    ]
    assert answer["decisions"][0]["why"] == "false: price > 104"


def test_a_stored_alert_is_tried_by_its_name_and_nothing_changes(bars: Run, connection: Connection) -> None:
    """In the prices of today, as the live evaluation: its constants are adjusted by later splits."""
    for name in ("high", "AAA > 104"):
        assert bars("alerts", "add", "AAA > 204 once", "--name", name).code == 0
    tables = ("alert_versions", "alert_state", "alert_firings", "alert_shards", "outbox", "series_changes")
    connection.execute(
        "INSERT INTO series_changes (timeframe, symbol, kind, factor) VALUES ('day', 'AAA', 'rebase', 0.5)"
    )
    before = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in tables]
    for name in ("high", "AAA > 104"):  # an alert may have a name that could be a rule
        found = bars("alerts", "test", name, "--json").json
        assert (found["alert"], _fired(found)) == ("AAA price > 204 day once", ["2025-11-06"])
    assert bars("alerts", "test", "high").out.endswith("; done after them\n")
    assert bars("alerts", "test", "high", "--since", "2025-11-07", "--json").json["firings"] == 1
    after = [connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3").fetchall() for name in tables]
    assert after == before
    assert (
        bars("alerts", "edit", "high", "AAA > 204 once until 2199-01-01")
        .out.splitlines()[1]
        .startswith("  AAA: true now")
    )


def test_names_of_definitions_are_known(bars: Run) -> None:
    assert bars("alerts", "test", "AAA rsi_14 < 30", "--json").json["alert"] == "AAA rsi(14) < 30"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "Error: give either an alert or --file\n"),
        (("price > 3",), "Error: the alert is not about one symbol: name one with --symbol\n"),
        (("AAA > 3 1h",), "Error: no closed hour bars of AAA are stored in this period\n"),
        (("BBB > 3",), "Error: no closed day bars of BBB are stored in this period\n"),
        (("AAA > 3", "--since", "2025-12-01"), "Error: no closed day bars of AAA are stored in this period\n"),
        (("AAA > 3", "--timeframe", "2h"), "Error: timeframe '2h' is not one of 1min, hour, day, week, month\n"),
        (("AAA > 3", "--as-of", "1850-01-01T00:00Z"), BEFORE_1900),
        (('{"rule": 1}',), "Error: $.rule: 1 is not an object\n"),
    ],
)  # fmt: skip
def test_what_cannot_be_tried_is_one_message(bars: Run, words: tuple[str, ...], error: str) -> None:
    answer = bars("alerts", "test", *words)
    assert (answer.code, answer.err) == (2, error)


def test_a_bar_that_was_stored_before_it_closed_is_left_out(bars: Run, connection: Connection) -> None:
    connection.execute("UPDATE series_state SET complete_through = '2025-11-11T00:00-05:00'")
    assert bars("alerts", "test", "AAA > 102", "--json").json["last"][:10] == "2025-11-11"


def test_a_period_may_not_be_endless(bars: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamworkers.alerts.stored_bars.MOST_BARS", 7)
    monkeypatch.setattr("streamworkers.alerts.stored_bars.DEFAULT_BARS", 5)
    assert bars("alerts", "test", "AAA > 3", "--json").json["bars"] == 5
    answer = bars("alerts", "test", "AAA > 3", "--since", "2025-11-03")
    assert (answer.code, answer.err) == (2, "Error: 8 bars of AAA are more than 7: choose a later start\n")
