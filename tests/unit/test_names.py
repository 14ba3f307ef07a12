"""Names: what people and programs call things passes, what could be taken for another thing does not."""

import pytest

from streamworkers.errors import BadInputError
from streamworkers.names import NameKind, escape_unseen, find_name_error, quote_name, require_name

WORDS: tuple[NameKind, ...] = ("job", "queue", "channel", "type")
CODES: tuple[NameKind, ...] = ("universe", "indicator", "pattern")
LABELS: tuple[NameKind, ...] = ("alert", "group", "endpoint", "token")
GOOD: dict[tuple[NameKind, ...], tuple[str, ...]] = {
    WORDS: ("a", "load_first", "x9", "a" * 64),
    ("schedule",): ("a", "us-close", "eod_2"),
    CODES: ("sp500", "SP500", "XLK.2026", "rsi_14", "_x", "a-b", "a" * 64),
    LABELS: ("AAPL > 150, day", "\xdcberverkauft", "\u65e5\u672c\uff1a\u682a", "a/b", "A" * 100, "desk\u2026"),
    ("user",): ("ann", "ann@desk.example", "desk/ann", "J\xfcrgen", "\u0905\u0928\u093f\u0932", "a" * 200),
}
BAD: dict[tuple[NameKind, ...], tuple[object, ...]] = {
    WORDS: ("", "A", "1a", "_a", "a-b", "a b", "a\n", "\xe9", "a" * 65, "../x", None, 7),
    ("schedule",): ("", "-a", "A", "1a", "a b", "a" * 65),
    CODES: ("", ".", "..", "-x", ".x", "a/b", "a,b", "a:b", "$(id)", "a\n", "\uff21", "a" * 65, None),
    LABELS: (
        "",
        " ",
        " a",
        "a ",
        "-a",
        "a\tb",
        "a\n",
        "a\0",
        "a\u200fb",
        "\u202ea",
        "e\u0301",
        "\u0301a",
        "A" * 101,
        1,
    ),
    ("user",): ("", "a" * 201, "\uff41nn", "\ufb01", "-a", "a\u200bb", "\ud800", "a\xa0b", None),
}


@pytest.mark.parametrize("kinds", GOOD, ids=lambda kinds: kinds[0])
def test_a_name_that_keeps_the_rule_of_its_kind_is_returned(kinds: tuple[NameKind, ...]) -> None:
    for kind in kinds:
        assert [require_name(kind, name) for name in GOOD[kinds]] == list(GOOD[kinds])


@pytest.mark.parametrize("kinds", BAD, ids=lambda kinds: kinds[0])
def test_any_other_is_an_error_that_names_it_and_the_rule(kinds: tuple[NameKind, ...]) -> None:
    for kind in kinds:
        for name in BAD[kinds]:
            problem = find_name_error(kind, name)
            assert problem is not None, (kind, name)
            assert problem.startswith(f"{kind} {quote_name(name)} is not a name of 1 to "), problem
            assert problem.isascii()
    with pytest.raises(BadInputError, match="is not a name of"):
        require_name(kinds[0], BAD[kinds][0])


def test_the_rules_are_stated_in_words() -> None:
    assert find_name_error("job", "A") == "job 'A' is not a name of 1 to 64 small letters, digits and _, a letter first"
    code = "universe '.x' is not a name of 1 to 64 letters, digits and . - _, neither . nor - first"
    assert find_name_error("universe", ".x") == code
    user = "user '-a' is not a name of 1 to 200 printable characters in the form NFKC, without spaces around and"
    assert find_name_error("user", "-a") == f"{user} without - at the beginning"


def test_a_name_in_a_message_is_escaped_and_cut_off() -> None:
    assert quote_name("it's\\\n\t\r\x7f\xe9\u202e\U0001f600") == r"'it\'s\\\n\t\r\x7f\xe9\u202e\U0001f600'"
    assert quote_name("x" * 300) == "'" + "x" * 37 + "\\u2026'"
    assert quote_name(["x" * 300]) == "['" + "x" * 38


def test_a_text_for_a_terminal_keeps_what_can_be_seen_and_its_lines() -> None:
    assert escape_unseen("\u65e5 \xe9\n\tit's \\") == "\u65e5 \xe9\n\tit's \\"
    assert escape_unseen("\x1b[2J\r\x07\u202e\udcff") == r"\x1b[2J\r\x07\u202e\udcff"
