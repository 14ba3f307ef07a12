"""The text form of rules: a recursive-descent parser that makes the same JSON as people write by hand.

::

    condition := any ("or" any)*                      any := all ("and" all)*
    all       := "not" all | test ["as" ID]
    test      := value operator value ["tolerance" N] | value "between" value "and" value | …
               | value "moves_up" N ["in" N "bars"] | "at_least" N "of" "(" condition ("," condition)* ")"
               | "pattern" NAME ["(" params ")"] [direction] ["confidence" N] | "(" condition ")"
    value     := term (("+" | "-") term)*             term := factor (("*" | "/") factor)*
    factor    := N | "-" factor | field | "(" value ")"
    field     := NAME ["(" params ")"] ["." OUTPUT]

The parser knows no name of a field: the vocabulary does, when the tree is built.
"""

import difflib
from typing import Any, Literal, NamedTuple

from streamworkers.rules.build import build_rule
from streamworkers.rules.json_input import MOST_BYTES, require_limits
from streamworkers.rules.located import Located, find_column
from streamworkers.rules.problem import RuleError
from streamworkers.rules.schema import require_document
from streamworkers.rules.token_reader import TokenReader
from streamworkers.rules.tree import Condition
from streamworkers.rules.vocabulary import Vocabulary

_COMPARISONS = {">": "<", ">=": "<=", "<": ">", "<=": ">=", "==": "==", "!=": "!="}  # with the sides exchanged
_PAIRS = ("between", "outside", "enters_channel", "exits_channel")
_CROSSINGS = ("crosses_above", "crosses_below", "crosses")
_MOVES = ("moves_up_pct", "moves_down_pct", "moves_up", "moves_down")
WORD_OPERATORS = (*_PAIRS, *_CROSSINGS, *_MOVES)
_ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div"}


class _Parsed(NamedTuple):
    kind: Literal["condition", "value"]
    json: Any
    column: int


def parse_rule_text(text: str, vocabulary: Vocabulary) -> Condition:
    """The tree of a rule in text form. Raises RuleError with the column of what is wrong."""
    require_length(text)
    parser = TextParser(text)
    document = parser.condition()
    parser.require_end()
    return build_located(text, document, vocabulary)


def require_length(text: str) -> None:
    """Raise RuleError for a text that is too long or empty."""
    if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
        raise RuleError((), f"the text is longer than {MOST_BYTES} bytes")
    if not text.strip():
        raise RuleError((), "the text is empty", text)


def build_located(text: str, document: Located, vocabulary: Vocabulary) -> Condition:
    """The tree of what the parser made; errors point into the text."""
    try:
        require_limits(document, rule_at=None)
        require_document(document)
        return build_rule(document, vocabulary)
    except RuleError as error:
        raise RuleError((), error.problem, text, find_column(document, error.path)) from None


class TextParser(TokenReader):
    """Reads conditions and values; methods are named for what they read."""

    def condition(self) -> Located:
        """Read a condition with all of its parts."""
        return self._require_condition(self._any())

    def at_operator(self) -> bool:
        """True if an operator of a comparison is next."""
        place = self._place
        found = self._operator()
        self._place = place
        return found is not None

    def _require_condition(self, parsed: _Parsed) -> Located:
        if parsed.kind == "condition":
            assert isinstance(parsed.json, Located)
            return parsed.json
        if self.next.kind == "end":
            raise self.fail("the text ends where an operator such as > or crosses_above is expected")
        near = difflib.get_close_matches(self.next.text.lower(), WORD_OPERATORS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise self.fail(f"expected an operator such as > or crosses_above, found {self.shown()}{hint}")

    def _require_value(self, parsed: _Parsed) -> Any:
        if parsed.kind == "condition":
            raise RuleError((), "expected a value, found a condition", self.text, parsed.column)
        return parsed.json

    def _any(self) -> _Parsed:
        return self._chain("or", self._all)

    def _all(self) -> _Parsed:
        return self._chain("and", self._not)

    def _chain(self, word: str, read: Any) -> _Parsed:
        first: _Parsed = read()
        if first.kind == "value" or self.next.text.lower() != word:
            return first
        conditions = [first.json]
        while self.take_word(word):
            conditions.append(self._require_condition(read()))
        members = {"operator": word, "conditions": conditions}
        return _Parsed("condition", Located(first.column, members), first.column)

    def _not(self) -> _Parsed:
        token = self.next
        if not self.take_word("not"):
            return self._test()
        with self.deeper():
            child = self._require_condition(self._not())
        return _Parsed("condition", Located(token.column, {"operator": "not", "conditions": [child]}), token.column)

    def _test(self) -> _Parsed:
        token = self.next
        if self.take_word("at_least"):
            parsed = self._at_least(token.column)
        elif self.take_word("pattern"):
            parsed = self._pattern(token.column)
        else:
            parsed = self._comparison()
        if parsed.kind == "condition" and self.take_word("as"):
            name = self.take()
            if name.kind != "word" or "conditions" in parsed.json:
                raise self.fail("'as' gives one comparison or pattern a name of letters, digits and '_'", name)
            parsed.json["id"] = name.text
            parsed.json.columns["id"] = name.column
        return parsed

    def _at_least(self, column: int) -> _Parsed:
        count_at = self.next.column
        count = self.whole_number()
        self.require_word("of")
        self.require_word("(")
        with self.deeper():
            conditions = [self.condition()]
            while self.require_word(",", ")") == ",":
                conditions.append(self.condition())
        members = {"operator": "at_least", "count": count, "conditions": conditions}
        return _Parsed("condition", Located(column, members, count=count_at), column)

    def _pattern(self, column: int) -> _Parsed:
        name_at = self.next.column
        members = {"pattern": self._name("a pattern")}
        found = Located(column, members, pattern=name_at, params=self.next.column + 1)
        found.update(self._params())
        found.columns["direction"] = self.next.column
        if direction := self.take_word("bullish", "bearish"):
            found["direction"] = direction
        if self.take_word("confidence"):
            found.columns["min_confidence"] = self.next.column
            found["min_confidence"] = self.number()
        return _Parsed("condition", found, column)

    def _comparison(self) -> _Parsed:
        left = self._sum()
        token = self.next
        operator = self._operator() if left.kind == "value" else None
        if operator is None:
            return left
        if operator in _MOVES:
            members, columns = self._move()
        elif operator in _PAIRS:
            members, columns = self._pair()
        else:
            columns = {"value": self.next.column}
            members = {"value": self._require_value(self._sum())}
            if isinstance(left.json, float) and isinstance(members["value"], dict) and operator in _COMPARISONS:
                operator, left, members["value"] = (
                    _COMPARISONS[operator],
                    left._replace(json=members["value"]),
                    left.json,
                )
            if self.take_word("tolerance"):
                columns["tolerance"] = self.next.column
                members["tolerance"] = self.number()
        if isinstance(left.json, float):
            raise RuleError((), "the left side is a constant; begin with a field", self.text, left.column)
        columns |= {"operator": token.column} | left.json.columns
        return _Parsed(
            "condition", Located(left.column, {**left.json, "operator": operator, **members}, **columns), left.column
        )

    def _operator(self) -> str | None:
        for words in (3, 2):  # `moves up pct`, `crosses above`
            spelled = "_".join(token.text.lower() for token in self.ahead(words))
            if spelled in WORD_OPERATORS:
                for _ in range(words):
                    self.take()
                return spelled
        return self.take_word(*_COMPARISONS, *WORD_OPERATORS)

    def _move(self) -> tuple[dict[str, Any], dict[str, int]]:
        columns = {"value": self.next.column}
        members: dict[str, Any] = {"value": self.number()}
        if self.take_word("in"):
            columns["bars"] = self.next.column
            members["bars"] = self.whole_number()
            self.require_word("bars", "bar")
        return members, columns

    def _pair(self) -> tuple[dict[str, Any], dict[str, int]]:
        column = self.next.column
        low = self._require_value(self._sum())
        self.require_word("and")
        return {"value": [low, self._require_value(self._sum())]}, {"value": column}

    def _sum(self) -> _Parsed:
        return self._left_to_right(("+", "-"), self._product)

    def _product(self) -> _Parsed:
        return self._left_to_right(("*", "/"), self._factor)

    def _left_to_right(self, signs: tuple[str, str], read: Any) -> _Parsed:
        left: _Parsed = read()
        while left.kind == "value" and (sign := self.take_word(*signs)):
            of = [left.json, self._require_value(read())]
            expression = Located(left.column, {"op": _ARITHMETIC[sign], "of": of})
            left = _Parsed("value", Located(left.column, {"expression": expression}), left.column)
        return left

    def _factor(self) -> _Parsed:
        token = self.next
        if token.kind == "number" or (token.text == "-" and self.ahead(2)[-1].kind == "number"):
            return _Parsed("value", self.number(), token.column)
        if self.take_word("("):
            with self.deeper():
                inside = self._any()
            self.require_word(")")
            return inside._replace(column=token.column)
        if self.take_word("-"):
            with self.deeper():
                of = [-1.0, self._require_value(self._factor())]
            expression = Located(token.column, {"op": "mul", "of": of})
            return _Parsed("value", Located(token.column, {"expression": expression}), token.column)
        return self._field()

    def _field(self) -> _Parsed:
        token = self.next
        members = {"indicator": self._name("a field or number")}
        found = Located(token.column, members, indicator=token.column, params=self.next.column + 1)
        found.update(self._params())
        if self.take_word("."):
            found.columns["output"] = self.next.column
            found["output"] = self._name("an output")
        return _Parsed("value", found, token.column)

    def _name(self, wanted: str) -> str:
        token = self.next
        if token.kind not in ("word", "name") or (token.kind == "word" and token.text.lower() in _RESERVED):
            raise self.fail(f"expected {wanted}, found {self.shown()}")
        return self.take().text

    def _params(self) -> dict[str, Any]:
        """Parameters in parentheses, all by position or all by name; nothing without parentheses."""
        if not self.take_word("("):
            return {}
        by_place: list[Any] = []
        by_name: dict[str, Any] = {}
        while not self.take_word(")"):
            if (by_place or by_name) and self.take_word(",") is None:
                raise self.fail(f"expected ',' or ')', found {self.shown()}")
            token, *following = self.ahead(2)
            if token.kind == "word" and [each.text for each in following] == ["=="]:
                self.take()
                self.take()
                if token.text in by_name:
                    raise self.fail(f"parameter {token.text!r} is given twice", token)
                by_name[token.text] = self._param()
            else:
                by_place.append(self._param())
            if by_name and by_place:
                raise self.fail("give parameters all by position or all by name", token)
        return {"params": by_name or by_place}

    def _param(self) -> float | str:
        return self.take().text if self.next.kind in ("word", "name") else self.number()


_RESERVED = frozenset(
    (*WORD_OPERATORS, "and", "or", "not", "at_least", "of", "pattern", "as", "in", "tolerance", "confidence", "until")
)
