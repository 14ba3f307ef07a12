"""Reads what a request says: strictly, with bounds, and with errors that name value and rule."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from streamworkers.api.problem import InvalidInput, Problem
from streamworkers.json_errors import word_malformed
from streamworkers.shown_values import show_json_value
from streamworkers.struct_errors import TIME, word_struct_error

Wanted = TypeVar("Wanted")
MOST_DEPTH = 32
LARGEST_INTEGER = 2**63 - 1
_MOST_FIELDS = 100
_TEXTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)  # possessive, as in json_depth
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_BRACKETS = re.compile(rb"[\[\]{}]")


def read_body(body: bytes, wanted: type[Wanted]) -> Wanted:
    """Read a JSON body. Raises Problem: 400 for what is no JSON, 422 for what breaks a rule."""
    _require_shallow(body)
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed", f"the body is no JSON: {word_malformed(error, body)}") from None
    for text in _find_wrong(value):
        raise InvalidInput(text)
    try:
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        raise InvalidInput(word_struct_error(error, value, wanted)) from None


def read_query(query: bytes, wanted: type[Wanted]) -> Wanted:
    """Read the parameters of a query; unknown ones, and one given twice, are rejected. Raises InvalidInput."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS)
    except (ValueError, UnicodeError):
        raise InvalidInput("the query is not name=value&…, percent-encoded in UTF-8") from None
    values = dict(pairs)
    for name in values:
        if sum(name == other for other, _ in pairs) > 1:
            raise InvalidInput(f"query parameter `{show_json_value(name)[1:-1]}` is given twice")
    for text in _find_wrong(values):
        raise InvalidInput(text)
    kind: Any = wanted  # a type may be the key of a cache, which mypy does not see
    for name in _moments(kind) & values.keys():
        if not _DATE.match(values[name]):  # which a lax reader takes for seconds since 1970
            raise InvalidInput(f"query parameter `{name}`: {show_json_value(values[name])} is not {TIME}")
    try:
        return msgspec.convert(values, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(word_struct_error(error, values, wanted, "the query", "query parameter")) from None


@cache
def _moments(wanted: type[Any]) -> frozenset[str]:
    """The names of the parameters that are moments."""
    found = msgspec.json.schema(wanted)["$defs"][wanted.__name__]["properties"].items()
    return frozenset(name for name, schema in found if "date-time" in str(schema))


def read_number(text: str, kind: str) -> int:
    """Read an id of a path. Raises InvalidInput."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and int(text) <= LARGEST_INTEGER):
        raise InvalidInput(f"{kind} {text[:80]!r} is not a number from 0 to {LARGEST_INTEGER}")
    return int(text)


def make_cursor(numbers: Sequence[int], filters: Mapping[str, Any]) -> str:
    """Where a page ends, for the query with these filters only."""
    words = (*map(str, numbers), _digest(filters))
    return base64.urlsafe_b64encode(".".join(words).encode()).decode().rstrip("=")


def read_cursor(text: str | None, filters: Mapping[str, Any], count: int = 1) -> list[int] | None:
    """Return where the page before has ended: `count` numbers. Raises InvalidInput for a cursor of another query."""
    if text is None:
        return None
    try:
        words = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("ascii").split(".")
    except ValueError:
        words = []
    *numbers, digest = words or [""]
    is_good = len(numbers) == count and all(each.isdecimal() and len(each) <= 19 for each in numbers)
    if not is_good or digest != _digest(filters):
        raise InvalidInput("the cursor is not one that this query has given")
    return [int(each) for each in numbers]


def _digest(filters: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(filters, order="sorted")).hexdigest()[:16]


def _require_shallow(body: bytes) -> None:
    """Reject deep nesting before anything recurses into it."""
    depth = 0
    for bracket in _BRACKETS.findall(_TEXTS.sub(b"", body)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MOST_DEPTH:
            raise InvalidInput(f"the body is nested deeper than {MOST_DEPTH} levels")


def _find_wrong(value: Any, name: str = "") -> Iterator[str]:
    """What of a JSON value PostgreSQL could not keep: NUL, lone surrogates, integers beyond its own."""
    if isinstance(value, str):
        if "\x00" in value or any("\ud800" <= each <= "\udfff" for each in value):
            yield f"{name or 'a text'} has a NUL or half of a surrogate pair"
    elif isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        yield f"{name or 'a number'} is beyond {LARGEST_INTEGER}"
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _find_wrong(key, "a name")
            yield from _find_wrong(each, str(key)[:80])
    elif isinstance(value, list):
        for each in value:
            yield from _find_wrong(each, name)
