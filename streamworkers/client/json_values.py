"""Values of a program as the JSON values that PostgreSQL stores, without any that would change on the way."""

import math
from typing import Any

import msgspec

from streamworkers.errors import BadInputError

_MOST_DEPTH = 32
_MOST_CHARACTERS = 80


def to_json_value(label: str, value: object) -> Any:
    """Return a value as dicts, lists, texts, numbers, true, false and None.

    Takes dataclasses, msgspec's structs, pydantic's models, dates, enums, UUIDs and decimals too. Raises BadInputError,
    which begins with the label, for what JSON or PostgreSQL cannot hold: NaN, infinity, NUL, half of a surrogate pair.
    """
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


def _require_storable(label: str, value: object, depth: int) -> None:
    if depth > _MOST_DEPTH:
        raise BadInputError(f"{label} is nested more than {_MOST_DEPTH} deep")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadInputError(f"{label} is {value}, and JSON has no such number")
    if isinstance(value, str) and ("\x00" in value or any("\ud800" <= each <= "\udfff" for each in value)):
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
