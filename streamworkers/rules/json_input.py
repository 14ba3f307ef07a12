"""Reads JSON from outside under limits that hold before anything walks it recursively."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from streamworkers.json_depth import find_too_deep
from streamworkers.json_errors import word_json_error
from streamworkers.rules.problem import Path, RuleError, show_value

MOST_BYTES = 32 * 1024
MOST_DEPTH = 8
MOST_NODES = 100
MOST_FIELDS = 50
_MOST_NESTING = 40  # of JSON itself; a rule of eight levels needs less
_MOST_VALUES = 4_000
_LONGEST_NUMBER = 400  # characters; float() and int() of longer ones take their time
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class _Repeated(dict[str, Any]):
    """An object in which a key occurs twice."""

    key = ""


class _Seen(NamedTuple):
    """A value of a document: where it is, how deep the document and the rule are nested there, and if it is a node."""

    path: Path
    value: object
    nesting: int
    depth: int


def read_json(text: str | bytes, most_bytes: int | None = MOST_BYTES) -> Any:
    """The value of a JSON text. Raises RuleError if it is too large or nested, or no JSON.

    `most_bytes` is None for several documents in one text, whose length was checked.
    """
    size = len(text) if isinstance(text, bytes) else len(text.encode(errors="surrogatepass"))
    if most_bytes is not None and size > most_bytes:
        raise RuleError((), f"{size} bytes are more than {most_bytes}")
    try:
        decoded = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise RuleError((), f"byte {error.start} is no UTF-8") from None
    _require_shallow(decoded)
    try:
        return json.loads(decoded, object_pairs_hook=_object, parse_int=_whole_number, parse_constant=float)
    except json.JSONDecodeError as error:
        raise RuleError((), f"no JSON: {word_json_error(error)}") from None


def require_limits(document: object, rule_at: str | None = "rule") -> None:
    """Raise RuleError for the first value that breaks a limit, whatever its place.

    `rule_at` names the member that holds the rule, None says that the document is the rule. Bounded work: it stops at
    the first limit.
    """
    nodes, fields = 0, set()
    for count, seen in enumerate(_walk(document, rule_at)):
        if count >= _MOST_VALUES:
            raise RuleError((), f"more than {_MOST_VALUES} values")
        _require_plain(seen)
        if isinstance(seen.value, Mapping) and seen.depth and "params" not in seen.path:
            nodes += 1
            fields.add(_field_key(seen.value))
    if nodes > MOST_NODES:
        raise RuleError((rule_at,) if rule_at else (), f"{nodes} nodes are more than {MOST_NODES}")
    if len(fields - {None}) > MOST_FIELDS:
        raise RuleError((rule_at,) if rule_at else (), f"{len(fields - {None})} fields are more than {MOST_FIELDS}")


def _walk(document: object, rule_at: str | None) -> Iterator[_Seen]:
    """Every value of a document, parents first. A node of the rule is an object that is no expression or params."""
    waiting = [_Seen((), document, 0, 1 if rule_at is None else 0)]
    while waiting:
        seen = waiting.pop()
        yield seen
        below: list[tuple[Any, object]] = []
        if isinstance(seen.value, Mapping):
            below = list(seen.value.items())
        elif isinstance(seen.value, Sequence) and not isinstance(seen.value, str | bytes):
            below = list(enumerate(seen.value))
        for key, value in reversed(below):
            is_node = isinstance(value, Mapping) and key not in ("expression", "params")
            inside = seen.depth > 0 or (seen.path == () and key == rule_at)
            waiting.append(_Seen((*seen.path, key), value, seen.nesting + 1, seen.depth + (inside and is_node)))


def _require_plain(seen: _Seen) -> None:
    path, value = seen.path, seen.value
    if seen.nesting > _MOST_NESTING:
        raise RuleError(path[:8], f"nested deeper than {_MOST_NESTING} levels")
    if isinstance(value, Mapping | list | tuple) and len(value) > _MOST_VALUES:
        raise RuleError(path, f"has {len(value)} values, more than {_MOST_VALUES}")
    if seen.depth > MOST_DEPTH:
        raise RuleError(path, f"{seen.depth} levels of conditions and values are more than {MOST_DEPTH}")
    if isinstance(value, _Repeated):
        raise RuleError((*path, value.key), "this key occurs twice in its object")
    if isinstance(value, Mapping):
        bad = [key for key in value if not isinstance(key, str) or _UNSTORABLE.search(key)]
        if bad:
            raise RuleError(path, f"the key {show_value(bad[0])} is no text that can be stored")
    elif isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise RuleError(path, f"{show_value(value)} holds a character that cannot be stored")
    elif isinstance(value, int | float):
        if not _is_finite(value):
            raise RuleError(path, f"{show_value(value)} is not a finite number")
    elif value is not None and not isinstance(value, list | tuple):
        raise RuleError(path, f"{show_value(value)} is no JSON")


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond the range of float
        return False


def _field_key(node: Mapping[str, object]) -> str | None:
    named = {key: node[key] for key in ("indicator", "pattern", "params", "output") if key in node}
    return repr(sorted(named.items())) if "indicator" in named or "pattern" in named else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        result = _Repeated(result)
        result.key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return result


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else math.inf


def _require_shallow(text: str) -> None:
    """Raise RuleError before the recursive parser meets a text that is nested too deep."""
    place = find_too_deep(text, _MOST_NESTING)
    if place is not None:
        raise RuleError((), f"nested deeper than {_MOST_NESTING} levels, at character {place + 1}")
