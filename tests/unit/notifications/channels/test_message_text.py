"""A long text is cut into messages within their limits, where it hurts least, and nothing of it is lost."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.notifications.channels.text import Lengths, clean_characters, utf16_width, write_pieces
from streamworkers.notifications.content import Content

LENGTHS = Lengths(20, 40, 100, utf16_width)
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def texts(content: Content, lengths: Lengths = LENGTHS) -> list[str]:
    return [piece.text for piece in write_pieces(content, lengths)]


def test_title_lines_and_link_are_one_message() -> None:
    content = Content("AAPL", ("above 150", "now 151"), link="https://x.example/runs/1")
    (piece,) = write_pieces(content, LENGTHS._replace(first=100))
    assert piece.title == "AAPL"
    assert piece.rest == "\n\nabove 150\nnow 151\n\nhttps://x.example/runs/1"


def test_a_message_ends_at_a_paragraph_a_line_or_a_word() -> None:
    assert texts(Content("A title of its own", ("a line",))) == ["A title of its own", "a line"]
    assert texts(Content("title", ("one two three four five",)), Lengths(18, 18, 9, utf16_width)) == [
        "title\n\none two",
        "three four five",
    ]


def test_a_character_of_several_code_points_is_not_cut() -> None:
    word = "x" * 17 + FAMILY + "y" * 10
    assert texts(Content(word)) == ["x" * 17, FAMILY + "y" * 10]
    accent = "x" * 19 + "e\u0301" + "z"
    assert texts(Content(accent)) == ["x" * 19, "e\u0301z"]


def test_the_title_of_two_messages_is_set_off_in_both() -> None:
    first, second = write_pieces(Content("a" * 30, ("b",)), LENGTHS)
    assert (first.title, first.rest) == ("a" * 20, "")
    assert (second.title, second.rest) == ("a" * 10, "\n\nb")


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60),
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=150), max_size=4),
)
def test_no_message_is_too_long_and_no_character_is_lost(title: str, lines: list[str]) -> None:
    found = texts(Content(title, tuple(lines)))
    assert [units(text) <= (40 if place else 20) for place, text in enumerate(found)] == [True] * len(found)
    assert all(text.strip() for text in found)
    squeezed = re.sub(r"\s", "", title + "".join(lines))
    assert re.sub(r"\s", "", "".join(found)) == squeezed


def test_later_lines_that_do_not_fit_are_counted() -> None:
    content = Content("57 alerts", ("the first ten:",), tuple(f"line {number}" for number in range(57)))
    lengths = Lengths(100, 100, 2, utf16_width)
    shown = "\n".join(texts(content, lengths))
    listed = re.findall(r"line \d+", shown)
    assert listed == [f"line {number}" for number in range(len(listed))]
    assert f"… and {57 - len(listed)} more" in shown
    assert 10 < len(listed) < 57
    assert "more" not in "\n".join(texts(content, lengths._replace(most=100)))


def test_a_text_that_is_too_long_as_a_whole_is_cut_off_visibly() -> None:
    found = texts(Content("t", ("x" * 1000,)), Lengths(50, 50, 3, utf16_width))
    assert len(found) == 3
    assert found[-1].endswith("\n…")
    assert all(units(text) <= 50 for text in found)


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [("a\x00b", "a\ufffdb"), ("a\ud83db", "a\ufffdb"), ("a\r\nb\rc\td", "a\nb\nc\td"), ("שלום", "שלום")],
)
def test_characters_that_providers_reject_are_replaced(given: str, cleaned: str) -> None:
    assert clean_characters(given) == cleaned
