"""Which calendar a symbol has: its own rule, the longest pattern, the rest."""

import pytest

from streamworkers.errors import BadInputError
from streamworkers.market.calendar.symbol_calendars import CalendarRules, require_pattern

RULES = CalendarRules({"*": "XNYS", "X:*": "24/7", "*-USD": "24/7", "X:E*": "24/5", "X:ETH": "XLON", "*.L": "XLON"})


@pytest.mark.parametrize(
    ("symbol", "calendar"),
    [
        ("AAPL", "XNYS"),
        ("X:BTC", "24/7"),
        ("BTC-USD", "24/7"),
        ("X:EUR", "24/5"),  # the longer pattern
        ("X:ETH", "XLON"),  # its own rule
        ("VOD.L", "XLON"),
        (".L", "XLON"),
        ("L", "XNYS"),
    ],
)
def test_a_symbol_has_the_calendar_of_the_closest_rule(symbol: str, calendar: str) -> None:
    assert RULES.calendar_of(symbol) == calendar


def test_a_pattern_does_not_overlap_itself() -> None:
    rules = CalendarRules({"*": "XNYS", "AB*BA": "24/7"})
    assert (rules.calendar_of("ABA"), rules.calendar_of("ABBA")) == ("XNYS", "24/7")


def test_of_equally_long_patterns_the_first_by_its_text_counts() -> None:
    assert CalendarRules({"*": "XNYS", "B*": "24/5", "*A": "24/7"}).calendar_of("BA") == "24/7"


def test_symbols_are_grouped_by_calendar() -> None:
    assert RULES.group(["AAPL", "X:BTC", "MSFT"]) == {"XNYS": ["AAPL", "MSFT"], "24/7": ["X:BTC"]}
    assert RULES.group([]) == {"XNYS": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("*A*", r"the pattern '\*A\*' has more than one \*"),
        ("", "the symbol is empty"),
        ("A B", "is not letters"),
        ("A B*", r"the pattern 'A B\*' is not a symbol with \* for some"),
    ],
)
def test_what_is_no_pattern_is_rejected(text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        require_pattern(text)
