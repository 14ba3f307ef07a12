"""Splits the text form of a rule into words, numbers and signs, with their columns."""

import re
from typing import NamedTuple

from streamworkers.rules.problem import RuleError

_TOKEN = re.compile(
    r"""
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[A-Za-z]*)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | `(?P<name>[^`]{1,64})`
    | "(?P<text>[^"]{1,64})"
    | (?P<sign>>=|<=|==|!=|<>|[><=\u2265\u2264\u2260+\-\u2212*\u00d7/\u00f7(),.%])
    """,
    re.VERBOSE,
)
MOST_TOKENS = 4_000  # the longest rule that keeps the other limits has fewer
_SPACE = re.compile(r"\s*")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:T[0-9:.]+(?:Z|[+-]\d{2}:\d{2})?)?")
# A ticker begins the text, in upper case, so that a field is never taken for one: `MA > 400` is about Mastercard.
_TICKER = re.compile(r'\s*(?:(?P<plain>[A-Z][A-Z0-9.\-]*)(?=[\s<>=!\u2265\u2264\u2260]|$)|"(?P<quoted>[^"\s]{1,64})")')
# Signs of mathematics and what they stand for, so that a rule can be pasted from a document.
_SAME_SIGN = {
    "=": "==",
    "<>": "!=",
    "\N{NOT EQUAL TO}": "!=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": "*",
    "\N{DIVISION SIGN}": "/",
}


class Token(NamedTuple):
    """A `word`, `number`, backquoted `name`, quoted `text`, `sign`, or the `end`; `column` counts from 1."""

    kind: str
    text: str
    column: int


def split_ticker(text: str) -> tuple[str | None, int]:
    """The ticker that a text begins with, if it does, and where the rest begins."""
    found = _TICKER.match(text)
    if found is None or found["plain"] in ("NOT", "PATTERN", "AT_LEAST"):
        return None, 0
    return found["plain"] or found["quoted"], found.end()


def split_tokens(text: str, start: int = 0) -> list[Token]:
    """The tokens from a place of the text on, the last of kind `end`. Raises RuleError at an unknown character."""
    tokens: list[Token] = []
    place = start
    while True:
        place = _skip_space(text, place)
        if len(tokens) > MOST_TOKENS:
            raise RuleError((), f"more than {MOST_TOKENS} words, numbers and signs", text, place + 1)
        if place == len(text):
            return [*tokens, Token("end", "", place + 1)]
        found = _date_after_until(text, place, tokens) or _TOKEN.match(text, place)
        if found is None:
            raise RuleError((), f"{text[place]!r} has no meaning here", text, place + 1)
        kind = found.lastgroup or "text"
        word = found[kind] if found.lastgroup else found[0]
        tokens.append(Token(kind, _SAME_SIGN.get(word, word) if kind == "sign" else word, place + 1))
        place = found.end()


def _skip_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()


def _date_after_until(text: str, place: int, tokens: list[Token]) -> re.Match[str] | None:
    return _DATE.match(text, place) if tokens and tokens[-1].text.lower() == "until" else None
