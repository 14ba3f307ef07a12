"""What a name may be: one rule for each kind of thing, at every way into the product.

Symbols have theirs in `symbols.py`. A name that is looked up and breaks its rule is an unknown one. A name is never a
part of a path, a command or a pattern, whatever it holds; these rules keep one thing from having two names that look
alike, and a name from being read as an option, a list or an end of a line.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from streamworkers.errors import BadInputError

NameKind = Literal[
    "job",
    "queue",
    "schedule",
    "channel",
    "type",
    "hook",
    "universe",
    "indicator",
    "pattern",
    "user",
    "alert",
    "group",
    "endpoint",
    "token",
    "limit",
]
_LONGEST_SHOWN = 40
# Control characters but line ends and tabs, marks of direction, and halves of pairs.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True, slots=True)
class NameRule:
    """The most characters of a name, what they may be (a pattern for all, or a form of Unicode), and that in words."""

    longest: int
    text: str
    pattern: str | None = None
    form: Literal["NFC", "NFKC"] = "NFC"

    def accepts(self, name: str) -> bool:
        """True for a name that keeps the rule."""
        if not 0 < len(name) <= self.longest:
            return False
        if self.pattern is not None:
            return re.fullmatch(self.pattern, name, re.ASCII) is not None
        return (
            name.isprintable()
            and name == name.strip()
            and not name.startswith("-")
            and not unicodedata.category(name[0]).startswith("M")
            and unicodedata.is_normalized(self.form, name)
        )


def _words(longest: int, form: Literal["NFC", "NFKC"]) -> NameRule:
    text = (
        f"1 to {longest} printable characters in the form {form}, without spaces around and without - at the beginning"
    )
    return NameRule(longest, text, form=form)


# The same in migrations; a test compares them.
_WORD = NameRule(64, "1 to 64 small letters, digits and _, a letter first", r"[a-z][a-z0-9_]*")
_CODE = NameRule(64, "1 to 64 letters, digits and . - _, neither . nor - first", r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
RULES: Mapping[NameKind, NameRule] = {
    **dict.fromkeys(("job", "queue", "channel", "type", "hook", "limit"), _WORD),
    "schedule": NameRule(64, "1 to 64 small letters, digits, _ and -, a letter first", r"[a-z][a-z0-9_-]{0,63}"),
    **dict.fromkeys(("universe", "indicator", "pattern"), _CODE),
    # What is full-width or a ligature looks like another user.
    "user": _words(200, "NFKC"),
    **dict.fromkeys(("alert", "group", "endpoint", "token"), _words(100, "NFC")),
}


def find_name_error(kind: NameKind, name: object) -> str | None:
    """Return what is wrong with a name, which may be of any type; None if nothing is."""
    rule = RULES[kind]
    if isinstance(name, str) and rule.accepts(name):
        return None
    return f"{kind} {quote_name(name)} is not a name of {rule.text}"


def require_name(kind: NameKind, name: object) -> str:
    """Return the name unchanged. Raises BadInputError for one that breaks the rule of its kind."""
    if (problem := find_name_error(kind, name)) is not None:
        raise BadInputError(problem)
    assert isinstance(name, str)
    return name


def quote_name(name: object) -> str:
    """Return a name for a message: escaped, so that it changes neither lines nor their direction, and cut off."""
    if not isinstance(name, str):
        return ascii(name)[:_LONGEST_SHOWN]
    shown = name if len(name) <= _LONGEST_SHOWN else f"{name[: _LONGEST_SHOWN - 3]}…"
    return "'" + "".join(map(_escape, shown)) + "'"


def escape_unseen(text: str) -> str:
    """Return a text for a terminal: what would move its cursor, colour it or turn its direction is escaped."""
    return _UNSEEN.sub(lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    if (short := _SHORT.get(character)) is not None:
        return short
    code = ord(character)
    if 32 <= code < 127:
        return character
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
