"""Values of a program as the JSON values that PostgreSQL stores, without any that would change on the way."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from streamworkers.errors import BadInputError

_MOST_DEPTH = 32
_MOST_CHARACTERS = 80


def to_json_fields(label: str, fields: Mapping[str, object]) -> dict[str, Any]:
    """Return the values of fields as dicts, lists, texts, numbers, true, false and None.

    Takes dataclasses, msgspec's structs, pydantic's models, dates, enums, UUIDs and decimals too. Raises BadInputError,
    which begins with the label and the field, for what JSON or PostgreSQL cannot hold: NaN, infinity, NUL, half of a
    surrogate pair. All fields are looked at together; only for an error are they looked at one by one.
    """
    try:
        plain: dict[str, Any] = msgspec.to_builtins(fields, str_keys=True, enc_hook=_to_plain)
    except (TypeError, ValueError, RecursionError):
        plain = {}
    if plain and all(_is_storable(value, 0) for value in plain.values()):
        return plain
    return {name: _to_json_value(f"{label}: {name}", value) for name, value in fields.items()}


def _to_json_value(label: str, value: object) -> Any:
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_to_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInputError(f"{label}: {_show(value)} cannot be written as JSON: {error}") from None
    _require_storable(label, plain, 0)
    return plain


def _to_plain(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"objects of type {type(value).__qualname__} are not supported")
    return dump(mode="json", exclude_unset=True)


def _is_storable(value: object, depth: int) -> bool:
    """True if `_require_storable` raises nothing: this needs no label for each value."""
    if isinstance(value, str):
        return _is_storable_text(value)
    if isinstance(value, dict):
        members = (*value, *value.values())
    elif isinstance(value, list | tuple):
        members = tuple(value)
    else:
        return not isinstance(value, float) or math.isfinite(value)
    if depth >= _MOST_DEPTH:
        return not members
    return all(_is_storable(member, depth + 1) for member in members)


def _is_storable_text(value: str) -> bool:
    if "\x00" in value:
        return False
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_storable(label: str, value: object, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise BadInputError(f"{label} is nested more than {_MOST_DEPTH} deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInputError(f"{label} is {value}, and JSON has no such number")
    if isinstance(value, str) and not _is_storable_text(value):
        raise BadInputError(f"{label} is {_show(value)}, and PostgreSQL stores neither NUL nor lone surrogates")
    if isinstance(value, dict):
        for name, member in value.items():
            _require_storable(label, name, depth + 1)
            _require_storable(f"{label}[{name!r}]", member, depth + 1)
    elif isinstance(value, list | tuple):
        for place, member in enumerate(value):
            _require_storable(f"{label}[{place}]", member, depth + 1)


def _show(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
