"""Where a text is no JSON and why, as a sentence of this project."""

import json
from typing import NoReturn

_RULES = (
    ("Expecting property name", "a name in quotes is missing"),
    ("Expecting ':'", "a colon is missing"),
    ("Expecting ','", "a comma, or the end of the list or object, is missing"),
    ("Expecting value", "a value is missing"),
    ("Illegal trailing comma", "a comma stands before the end of the list or object"),
    ("Extra data", "something stands behind the end of the value"),
    ("Unterminated string", "this text has no quote at its end"),
    ("Invalid control character", "a line end or control character stands in a text: write \\n, or another escape"),
    ("Invalid \\u", "the escape \\u has no four hexadecimal digits"),
    ("Invalid \\", "there is no such escape"),
    ("Unexpected UTF-8 BOM", "a byte order mark stands before the value"),
)
_HALF_PAIR = "an escape \\u is half of a surrogate pair"


class _ConstantError(ValueError):
    """One of the words for numbers that JSON does not have."""


def word_json_error(error: json.JSONDecodeError) -> str:
    """Say why a text is no JSON, and where: line and column from 1, in characters."""
    at = f"at line {error.lineno}, column {error.colno}"
    if not error.doc.strip():
        return "it is empty"
    if error.pos >= len(error.doc.rstrip()):
        return f"{at}: it ends too early"
    return f"{at}: {next((words for start, words in _RULES if error.msg.startswith(start)), error.msg)}"


def word_malformed(error: Exception, body: bytes) -> str:
    """Say why bytes are no JSON, and where. `error` is that of the reader that rejected them, which may be stricter."""
    try:
        json.loads(body.decode(), parse_constant=_reject_constant)
    except UnicodeDecodeError as wrong:
        before = body[: wrong.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return f"at line {line}, column {column}: this byte is no UTF-8"
    except json.JSONDecodeError as wrong:
        return word_json_error(wrong)
    except _ConstantError as wrong:
        return f"{wrong} is no number of JSON"
    except (ValueError, RecursionError):
        return "a number or the nesting is beyond what is read"
    if "out of range" in str(error):
        return "a number is too large"
    # What is left is an escape that no text can hold; the reader's words for it are of bytes.
    return _HALF_PAIR if "utf-16" in str(error) or "truncated" in str(error) else str(error)


def _reject_constant(word: str) -> NoReturn:
    raise _ConstantError(word)
