"""Which values of a request its errors may show, and how."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

MOST_CHARACTERS = 80
# Fields whose values may let somebody in, or are for the eyes of one person.
_SECRET = re.compile(
    r"(?i)passw|secret|token|api[_-]?key|authorization|credential|webhook|^(?:text|code|address|url|link|settings)$"
)
_SECRET_VALUE = re.compile(r"sw_live_|whsec_|://[^/\s]*@|(?i:bearer )")


def show_json_value(value: Any) -> str:
    """Show a value of JSON, cut off where it is long; of lists and objects only what they are."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def is_secret_value(steps: Iterable[str | int], value: Any) -> bool:
    """True if a value, or the names of the fields that lead to it, mean a secret."""
    is_secret = any(isinstance(step, str) and _SECRET.search(step) for step in steps)
    return is_secret or (isinstance(value, str) and _SECRET_VALUE.search(value) is not None)
