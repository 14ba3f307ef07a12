"""The fake Bot API reads HTML as strictly as the real one."""

import pytest

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers_fakes.telegram.calls import BotLimits, BotWindows
from streamworkers_fakes.telegram.entities import EntityError, read_html, utf16_length
from streamworkers_fakes.telegram.plans import BotPlan, parse_bot_plan


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<b>a</b> &lt;b&gt; &amp;amp; &#39;", "a <b> &amp; '"),
        ('<a href="https://x.example">x</a>', "x"),
        ("a > b & c", "a > b & c"),
        ("<b><i>a</i></b>", "a"),
    ],
)
def test_tags_and_entities_are_read(html: str, text: str) -> None:
    assert read_html(html) == text


@pytest.mark.parametrize(
    ("html", "detail"),
    [
        ("a<x>", 'Unsupported start tag "x" at byte offset 1'),
        ("é</x>", 'Unsupported end tag "x" at byte offset 2'),
        ("<b>a", 'Can\'t find end tag corresponding to start tag "b"'),
        ("a</b>", "Unexpected end tag at byte offset 1"),
        ("<b><i>a</b></i>", 'Unmatched end tag at byte offset 7, found "</b>"'),
        ("a <", "Unclosed start tag at byte offset 2"),
        ("1 < 2", "Unclosed start tag at byte offset 2"),
    ],
)
def test_a_text_that_the_bot_api_rejects_is_rejected(html: str, detail: str) -> None:
    with pytest.raises(EntityError) as raised:
        read_html(html)
    assert str(raised.value) == f"Bad Request: can't parse entities: {detail}"


def test_lengths_are_those_of_utf_16() -> None:
    assert utf16_length("a\U0001f600é") == 4


def test_a_window_moves_with_time() -> None:
    windows = BotWindows(BotLimits(bot=(3, 1.0), chat=(1, 1.0), group=(2, 60.0)))
    assert [windows.take(chat, 0.0) for chat in ("1", "1", "2", "3", "4")] == [0, 1, 0, 0, 1]
    assert windows.take("1", 0.999) == 1
    assert windows.take("1", 1.0) == 0
    assert [windows.take("-5", at) for at in (10.0, 11.0, 12.0)] == [0, 0, 58]


def test_a_plan_is_parsed() -> None:
    assert parse_bot_plan("retry_after=5,chat=7,calls=1") == BotPlan("retry_after", 5, "7", None, 1)
    assert parse_bot_plan("conflict,method=getUpdates") == BotPlan("conflict", None, None, "getUpdates", None)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("block", UnknownNameError, "no plan is named 'block'; did you mean 'blocked'?"),
        ("blocked=3", BadInputError, "plan blocked takes no value, not 3"),
        ("delay=inf", BadInputError, "plan delay: inf is not a finite number"),
        ("delay=x", BadInputError, "plan 'delay=x': its value or its calls are not a number"),
        ("drop,times=2", BadInputError, "plan 'drop,times=2': 'times' is none of chat, method, calls"),
    ],
)
def test_a_bad_plan_is_an_error(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as raised:
        parse_bot_plan(text)
    assert str(raised.value) == message
