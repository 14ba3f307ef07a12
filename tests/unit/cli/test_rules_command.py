"""`streamworkers rules check` takes text, JSON, a file and standard input, and needs no services."""

import io
import json
import sys
from pathlib import Path

import pytest

from streamworkers.cli.main import main

TEXT = "rsi(14) < 30 and price crosses_above sma(50)"


def _check(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["rules", "check", *words])
    return int(ended.value.code or 0)


def test_it_prints_both_notations_and_what_the_rule_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert _check("RSI() < 30 AND close crosses above sma(50)") == 0
    out = capsys.readouterr().out
    assert out.startswith(TEXT + "\n{")
    assert json.loads(out[out.index("{") : out.rindex("}") + 1])["operator"] == "and"
    rows = [line.split() for line in out[out.rindex("}") + 1 :].splitlines()[1:]]
    assert rows == [
        ["reads", "measured", "in", "bars", "before"],
        ["rsi(14)", "ratio", "14"],
        ["price", "price", "0"],
        ["sma(50)", "price", "49"],
        ["needs", "50", "bars", "before", "the", "bar", "that", "it", "decides"],
    ]


def test_text_json_file_and_standard_input_give_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _check(TEXT, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    as_json = json.dumps(answer["rule"])
    (tmp_path / "rule.json").write_text(as_json, encoding="utf-8")
    (tmp_path / "rule.txt").write_text(TEXT, encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(as_json.encode())))
    for words in (
        [as_json],
        ["--file", str(tmp_path / "rule.json")],
        ["--file", str(tmp_path / "rule.txt")],
        ["--file", "-"],
    ):
        assert _check(*words, "--json") == 0
        assert json.loads(capsys.readouterr().out) == answer
    assert (answer["text"], answer["lookback"], answer["adjustable"]) == (TEXT, 50, True)


def test_it_says_what_a_split_cannot_adjust_and_which_days_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _check("ln > 5 and anchored_vwap(year) < price and pattern cdldoji") == 0
    out = capsys.readouterr().out
    assert "needs 10 bars and 380 days before the bar that it decides\n" in out
    assert "pattern cdldoji" in out
    assert out.endswith("so the rule cannot be adjusted after a split\n")


def test_an_alert_is_checked_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    flat = {"symbol": "AAPL", "condition": "price_above", "threshold": 150, "timeframe": "1h"}
    canonical = {
        "schema_version": 1,
        "ticker": "AAPL",
        "timeframe": "hour",
        "rule": {"indicator": "price", "operator": ">", "value": 150},
        "rearm": {"type": "edge"},
    }
    for form in ("AAPL > 150 1h", json.dumps(flat), json.dumps(canonical)):
        assert _check(form, "--json") == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["text"], answer["alert"], answer["warnings"]) == ("AAPL price > 150 hour", canonical, [])
    assert _check("AAPL > 150 1h cooldown 5m") == 0
    out = capsys.readouterr().out
    assert out.startswith('AAPL price > 150 hour cooldown 5m\n{\n  "schema_version": 1,\n  "ticker": "AAPL",')
    assert out.endswith("warning: $.rearm.cooldown: 300 seconds are shorter than a bar of hour, so it has no effect\n")
    noted = canonical | {"notify": {"message_template": "{ticker} {price:.1f} {fires}"}}
    assert _check(json.dumps(noted)) == 0
    assert capsys.readouterr().out.endswith("that it decides\nmessage, for example: AAPL 151.2 1\n")
    assert _check('{"rule": {}}') == 2
    assert capsys.readouterr().err == "Error: $.rule: lacks 'operator'\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "Error: give either a rule or --file\n"),
        (("price > 3", "--file", "-"), "Error: give either a rule or --file\n"),
        (
            ("not rsx(14) < 30",),
            f"Error: column 5: no field is named 'rsx'; did you mean 'rsi'?\n  not rsx(14) < 30\n{6 * ' '}^\n",
        ),
        (('{"indicator": "price"}',), "Error: $: lacks 'operator'\n"),
        (("[" * 5000,), "Error: $: nested deeper than 40 levels, at character 41\n"),
    ],
)
def test_a_wrong_rule_is_one_message_and_exit_code_2(
    words: tuple[str, ...], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _check(*words) == 2
    assert capsys.readouterr().err == error


def test_a_file_that_is_too_large_or_no_text_is_rejected(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * 2**20)
    (tmp_path / "binary").write_bytes(b"price > \xff")
    assert _check("--file", str(tmp_path / "large")) == 2
    assert capsys.readouterr().err == f"Error: {tmp_path / 'large'} is longer than 32,768 bytes\n"
    assert _check("--file", str(tmp_path / "binary")) == 2
    wrong = f"line 1 of {tmp_path / 'binary'} is not UTF-8: byte 9 of the line is 0xff"
    assert capsys.readouterr().err == f"Error: {wrong}\n"
