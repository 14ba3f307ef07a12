"""Reads the tokens of a text one after the other, with errors that point at them."""

from collections.abc import Iterator
from contextlib import contextmanager

from streamworkers.rules.lexer import Token, split_tokens
from streamworkers.rules.problem import RuleError

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SUFFIXES = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9}
_DEEPEST = 24  # parentheses, signs and `not` within each other


class TokenReader:
    """The tokens of one text and the place in them."""

    def __init__(self, text: str, start: int = 0) -> None:
        self.text = text
        self._tokens = split_tokens(text, start)
        self._place = 0
        self._depth = 0

    @property
    def next(self) -> Token:
        """The token that has not been read yet."""
        return self._tokens[self._place]

    def ahead(self, count: int) -> list[Token]:
        """The next tokens; fewer at the end."""
        return self._tokens[self._place : self._place + count]

    def fail(self, problem: str, token: Token | None = None) -> RuleError:
        """An error at a token, the next one unless another is given."""
        return RuleError((), problem, self.text, (token or self.next).column)

    def insert(self, token: Token) -> None:
        """Read a token next that is not in the text."""
        self._tokens.insert(self._place, token)

    def take(self) -> Token:
        """Read the next token, whatever it is; the end stays."""
        token = self.next
        self._place += token.kind != "end"
        return token

    def take_word(self, *words: str) -> str | None:
        """Read one of these words or signs if it is the next, in any case."""
        token = self.next
        word = token.text.lower() if token.kind == "word" else token.text
        if token.kind in ("word", "sign") and word in words:
            self.take()
            return word
        return None

    def require_word(self, *words: str) -> str:
        """Read one of these words or signs; anything else is an error."""
        found = self.take_word(*words)
        if found is None:
            wanted = " or ".join(repr(word) for word in words)
            raise self.fail(f"expected {wanted}, found {self.shown()}")
        return found

    def require_end(self) -> None:
        """Raise RuleError if something follows."""
        if self.next.kind != "end":
            raise self.fail(f"expected 'and', 'or' or the end, found {self.shown()}")

    def number(self) -> float:
        """Read a constant, with a sign and a suffix if it has them: `-5`, `1.5m`."""
        sign = -1 if self.take_word("-") else 1
        token = self.next
        if token.kind != "number":
            raise self.fail(f"expected a number, found {self.shown()}")
        digits = token.text.rstrip(_LETTERS)
        suffix = token.text[len(digits) :].lower()
        if suffix not in _SUFFIXES:
            raise self.fail(f"{token.text!r} is no number: it may end with k, m or b")
        self.take()
        return sign * float(digits) * _SUFFIXES[suffix]

    def whole_number(self) -> int:
        """Read a whole number of 0 or more."""
        token = self.next
        if token.kind != "number" or not token.text.isdecimal() or len(token.text) > 9:
            raise self.fail(f"expected a whole number, found {self.shown()}")
        self.take()
        return int(token.text)

    def shown(self) -> str:
        """The next token for a message."""
        return "the end" if self.next.kind == "end" else repr(self.next.text)

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """Count one level of nesting. Raises RuleError if there are too many."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self.fail(f"nested deeper than {_DEEPEST} levels")
        yield
        self._depth -= 1
