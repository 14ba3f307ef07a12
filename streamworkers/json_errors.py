"""Where a text is no JSON and why, as a sentence of this project; the reader is that of msgspec."""

import json
import re

_HALF_PAIR = "an escape \\u is half of a surrogate pair"
# What a reader of JSON stumbles over, and what that is for people.
_MALFORMED = {
    "invalid character": "this character cannot stand here",
    "trailing characters": "something stands behind the end of the value",
    "object keys must be strings": "a name in quotes is missing",
    "invalid number": "this is not a number",
    "trailing comma in array": "a comma stands before the end of the list",
    "trailing comma in object": "a comma stands before the end of the object",
    "expected ',' or ']'": "a comma or ] is missing",
    "expected ',' or '}'": "a comma or } is missing",
    "expected ':'": "a colon is missing",
    "expected '\"'": "a quote is missing",
    "invalid escape character in string": "there is no such escape",
    "invalid escaped character": "there is no such escape",
    "invalid character in unicode escape": "the escape \\u has no four hexadecimal digits",
    "unexpected end of hex escape": "the escape \\u has no four hexadecimal digits",
    "invalid utf-16 surrogate pair": _HALF_PAIR,
    "unexpected end of escaped utf-16 surrogate pair": _HALF_PAIR,
}
_AT_BYTE = re.compile(r"JSON is malformed: (?P<reason>.*) \(byte (?P<byte>\d+)\)", re.DOTALL)


def word_malformed(error: Exception, body: bytes) -> str:
    """Say why a text is no JSON, and where: line and column from 1, in characters."""
    try:
        text = body.decode()
    except UnicodeDecodeError as wrong:
        return f"at {_place_of(body, wrong.start)}: this byte is no UTF-8"
    if not text.strip():
        return "it is empty"
    if found := _AT_BYTE.fullmatch(str(error)):
        return f"at {_place_of(body, int(found['byte']))}: {_MALFORMED.get(found['reason'], found['reason'])}"
    if str(error) == "Input data was truncated":
        rule = _HALF_PAIR if _is_whole(text) else "it ends too early"
        return f"at {_place_of(body, len(body))}: {rule}"
    return "a number is too large" if str(error).startswith("Number out of range") else str(error)


def _is_whole(text: str) -> bool:
    """True if a reader that takes half of a surrogate pair for a character finds the text whole."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _place_of(body: bytes, byte: int) -> str:
    before = body[:byte].decode(errors="replace")
    return f"line {before.count(chr(10)) + 1}, column {len(before) - (before.rfind(chr(10)) + 1) + 1}"
