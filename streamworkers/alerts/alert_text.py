"""The text form of an alert: a rule with a ticker before it, and a timeframe and a policy after it.

::

    alert  := [TICKER] condition option*        after a ticker, `price` may be left out: `AAPL > 150`
    option := "1h" | "day" | … | "once" | "simple" | "edge" | "crossing"
              | "hysteresis" (N ["%"] | "abs" N) ["of" ID] | "cooldown" (DURATION | N "bars") | "persistence" N "bars"
              | "until" DATE
"""

import re
from typing import Any

from streamworkers.alerts.document import Alert, parse_alert
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.rules.lexer import Token, split_ticker
from streamworkers.rules.located import Located, find_column
from streamworkers.rules.problem import RuleError
from streamworkers.rules.text import TextParser, require_length
from streamworkers.rules.vocabulary import Vocabulary

_TYPES = ("once", "simple", "edge", "crossing")
SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_LOWER_TICKER = re.compile(r"\s*([a-z][a-z0-9.\-]*)(?=[\s<>=!\u2265\u2264\u2260])")
_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,9})?")


def parse_alert_text(text: str, vocabulary: Vocabulary) -> Alert:
    """The alert of a text. Raises RuleError with the column of what is wrong.

    A word in upper case before the rule is a ticker: `RSI > 20` is about the price of RSI, but `rsi > 20`, `RSI() > 20`
    and `AAPL RSI > 20` are about the indicator. A ticker in lower case is quoted.
    """
    require_length(text)
    document = _AlertParser(text).alert()
    try:
        return parse_alert(document, vocabulary)
    except RuleError as error:
        column = find_column(document, error.path)
        raise RuleError((), error.problem + _hint_at_case(text, column), text, column) from None


def _hint_at_case(text: str, column: int) -> str:
    """What to say beside an error at the first word, if that would be a ticker in upper case."""
    found = _LOWER_TICKER.match(text)
    if found is None or found.start(1) != column - 1:
        return ""
    return f"; a ticker is written in upper case: {found[1].upper()}"


class _AlertParser(TextParser):
    """Reads what stands around a rule."""

    def __init__(self, text: str) -> None:
        self._ticker, start = split_ticker(text)
        super().__init__(text, start)
        if self._ticker is not None and self.at_operator():
            self.insert(Token("word", "price", self.next.column))

    def alert(self) -> Located:
        """Read the whole text, up to its end."""
        members: dict[str, Any] = {} if self._ticker is None else {"ticker": self._ticker}
        found = Located(1, members)
        found["rule"] = self.condition()
        rearm = Located(self.next.column, {})
        while self.next.kind != "end":
            self._option(found, rearm)
        if rearm:
            found["rearm"] = rearm
            rearm.setdefault("type", _type_of(rearm))
        return found

    def _option(self, found: Located, rearm: Located) -> None:
        token = self.next
        word = self.take_word(*_TYPES, "hysteresis", "cooldown", "persistence", "until")
        if word is None:
            self._set(found, "timeframe", self._timeframe(), token)
        elif word in _TYPES:
            self._set(rearm, "type", word, token)
        elif word == "until":
            if self.next.kind == "end":
                raise self.fail("expected a date such as 2027-01-01, found the end")
            day = self.take()
            self._set(found, "expires_at", day.text, day)
        elif word == "cooldown":
            self._cooldown(rearm, token)
        elif word == "persistence":
            self._set(rearm, "persistence_bars", self.whole_number(), token)
            self.take_word("bars", "bar")
        else:
            self._hysteresis(rearm, token)

    def _cooldown(self, rearm: Located, token: Token) -> None:
        if [each.text.lower() for each in self.ahead(2)][1:] in (["bars"], ["bar"]):
            self._set(rearm, "cooldown_bars", self.whole_number(), token)
            self.take()
        else:
            self._set(rearm, "cooldown", self._duration(), token)

    def _hysteresis(self, rearm: Located, token: Token) -> None:
        self._set(rearm, "type", "hysteresis", token)
        if self.take_word("abs"):
            self._set(rearm, "threshold", {"abs": self.number()}, token)
        else:
            size = self.number()
            self._set(rearm, "threshold", size / 100 if self.take_word("%") else size, token)
        if self.take_word("of"):
            self._set(rearm, "leaf", self.next.text, self.take())

    def _set(self, members: Located, name: str, value: object, token: Token) -> None:
        if name in members:
            raise self.fail(f"{name} is given twice", token)
        members[name] = value
        members.columns[name] = token.column

    def _timeframe(self) -> str:
        token = self.next
        try:
            name = timeframe_named(token.text).name
        except BadInputError:
            raise self.fail(
                "expected 'and', 'or', a timeframe such as 1h, a policy such as once or cooldown 5m, 'until' or the"
                f" end, found {self.shown()}"
            ) from None
        self.take()
        return name

    def _duration(self) -> float:
        token = self.next
        seconds = SECONDS.get(token.text[-1:].lower())
        digits = token.text[:-1]
        if token.kind != "number" or seconds is None or not _DECIMAL.fullmatch(digits):
            raise self.fail(f"expected a duration such as 90s, 5m, 2h or 1d, found {self.shown()}")
        self.take()
        return float(digits) * seconds


def _type_of(rearm: Located) -> str:
    """The policy that options without a type mean: that of the first of them."""
    return "persistence" if next(iter(rearm)) == "persistence_bars" else "cooldown"
