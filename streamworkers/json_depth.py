"""How deep a text of JSON is nested, found before a recursive parser meets it."""

import re

# Possessive: what could be tried again after a mismatch would take a hundred bytes for each character of a text.
_BRACKETS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def find_too_deep(text: str, most: int) -> int | None:
    """Return the place of the first list or object that is nested deeper than `most` levels, or None."""
    nesting = 0
    for found in _BRACKETS.finditer(text):
        nesting += _STEPS.get(found[0], 0)
        if nesting > most:
            return found.start()
    return None
