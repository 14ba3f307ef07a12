"""Messages to the bot: 303 right phrases with their trees, 141 wrong ones with the column, and everything else."""

import dataclasses
import json
from datetime import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.document import alert_to_json
from streamworkers.rules.market_vocabulary import MarketVocabulary
from streamworkers.rules.problem import RuleError
from streamworkers.telegram.commands import LATER_WORDS, WORDS, Command, SilenceAlert, WriteAlert
from streamworkers.telegram.grammar import find_word, parse_command, plain_text
from streamworkers.telegram.printer import print_command

FOLDER = Path(__file__).parent / "phrases"
BOT, VOCABULARY = "StreamBot", MarketVocabulary()


def _read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


RIGHT, WRONG = _read("right.jsonl"), _read("wrong.jsonl")


def _to_json(command: Command) -> dict[str, Any]:
    members = {field.name: getattr(command, field.name) for field in dataclasses.fields(command)}
    if isinstance(command, WriteAlert):
        members["alert"] = alert_to_json(command.alert)
    shown = {name: each.isoformat() if isinstance(each, time) else each for name, each in members.items()}
    return {"command": type(command).__name__} | {name: each for name, each in shown.items() if each is not None}


def test_right_phrases_read_into_their_trees_and_print_back() -> None:
    assert len({each["phrase"] for each in RIGHT}) >= 300
    for each in RIGHT:
        assert find_word(each["phrase"], BOT) is not None
        command = parse_command(each["phrase"], VOCABULARY)
        assert _to_json(command) == {name: each[name] for name in each if name not in ("phrase", "prints")}, each
        assert print_command(command) == each["prints"]
        assert parse_command(each["prints"], VOCABULARY) == command


def test_wrong_phrases_point_at_the_word() -> None:
    assert len({each["phrase"] for each in WRONG}) >= 100
    for each in WRONG:
        with pytest.raises(RuleError) as raised:
            parse_command(each["phrase"], VOCABULARY)
        assert (raised.value.column, raised.value.problem) == (each["column"], each["problem"]), each
        first, line, caret = str(raised.value).split("\n")
        assert first == f"column {each['column']}: {each['problem']}"
        place, shown = len(caret) - 3, line[2:]
        assert shown[place:] == each["phrase"][each["column"] - 1 :][: len(shown) - place], "a caret below the word"


def test_the_text_of_an_alert_is_that_of_the_command_line() -> None:
    phrases = [each["phrase"] for each in RIGHT if each["command"] == "WriteAlert"]
    texts = [phrase for phrase in phrases if phrase.isascii() and phrase.startswith("/alert ")]
    assert len(texts) > 100
    for text in texts:
        command = parse_command(text, VOCABULARY)
        assert isinstance(command, WriteAlert)
        assert command.alert == parse_alert_text(text.removeprefix("/alert "), VOCABULARY)


def test_every_word_has_phrases() -> None:
    found = {find_word(each["phrase"], BOT) for each in RIGHT}
    assert found == {*WORDS, *LATER_WORDS}


@pytest.mark.parametrize(
    "text",
    ["", "hello", "alert AAPL > 150", "/ alert", "//alert", "/alert@OtherBot AAPL > 150", "/alert@", "🚀 /alert 1"],
)
def test_other_texts_are_no_commands(text: str) -> None:
    assert find_word(text, BOT) is None


@pytest.mark.parametrize("unseen", ["\u200b", "\u202e", "\x00", "\x1b", "\ud83d"])
def test_what_cannot_be_seen_or_stored_is_a_space_and_columns_stay(unseen: str) -> None:
    text = f"\u200f/alert AAPL{unseen} > 15x\u2066"
    assert len(plain_text(text)) == len(text)
    with pytest.raises(RuleError) as raised:
        parse_command(text, VOCABULARY)
    assert raised.value.column == text.index("15x") + 1
    assert unseen not in str(raised.value)


def test_a_long_message_gets_a_short_answer() -> None:
    for text in ("/alert " + "A" * 10_000, "/snooze 1 1h " + "x" * 10_000, "/quiet 1:00-2:00 " + "Z" * 10_000):
        with pytest.raises(RuleError) as raised:
            parse_command(text, VOCABULARY)
        assert len(str(raised.value)) < 600
    with pytest.raises(RuleError, match="nested deeper than 24 levels"):
        parse_command("/alert AAPL " + "(" * 2_000, VOCABULARY)


def _try(message: str) -> Command | RuleError:
    try:
        return parse_command(message, VOCABULARY)
    except RuleError as error:
        return error


@settings(max_examples=60)
@given(st.sampled_from([*WORDS, *LATER_WORDS, "x"]), st.text(max_size=60))
def test_any_text_is_a_command_or_a_short_error(word: str, text: str) -> None:
    message = f"/{word} {text}"
    found = _try(message)
    if isinstance(found, RuleError):
        assert found.column is not None
        assert 1 <= found.column <= len(message) + 1
        assert len(str(found)) < 600
    else:
        assert parse_command(print_command(found), VOCABULARY) == found


@settings(max_examples=60)
@given(st.integers(1, 999_999_999), st.sampled_from([1000, 1]), st.sampled_from("smhdw"))
def test_every_duration_prints_back(digits: int, divisor: int, unit: str) -> None:
    text = f"{digits / divisor:.3f}" if divisor > 1 else str(digits % 1_000_000 or 1)
    found = _try(f"/mute 1 {text}{unit}")
    if isinstance(found, RuleError):
        assert "ends after the year 9999" in found.problem
    else:
        assert isinstance(found, SilenceAlert)
        assert parse_command(print_command(found), VOCABULARY) == found
