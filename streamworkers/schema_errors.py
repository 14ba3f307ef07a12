"""What a JSON Schema finds wrong with the parameters of a job, in the words of the command line."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from streamworkers.field_errors import word_rule
from streamworkers.shown_values import is_secret_value, show_json_value

_TYPES = {
    "integer": "int",
    "number": "float",
    "string": "string_type",
    "boolean": "bool",
    "array": "list",
    "object": "dict_type",
    "null": "none_required",
}
# Keywords of JSON Schema, and what pydantic calls the same rule, with the name of its limit.
_RULES = {
    "minimum": ("greater_than_equal", "ge"),
    "exclusiveMinimum": ("greater_than", "gt"),
    "maximum": ("less_than_equal", "le"),
    "exclusiveMaximum": ("less_than", "lt"),
    "minLength": ("string_too_short", "min_length"),
    "maxLength": ("string_too_long", "max_length"),
    "minItems": ("too_short", "min_length"),
    "maxItems": ("too_long", "max_length"),
    "pattern": ("string_pattern_mismatch", "pattern"),
}


class SchemaError(Protocol):
    """What is used of a ValidationError of the library jsonschema."""

    absolute_path: Iterable[Any]
    validator: Any
    validator_value: Any
    instance: Any
    schema: Any
    context: Any


def word_schema_error(error: SchemaError, job: str) -> str:
    """Say which parameter of a job breaks which rule, with its value."""
    path = [str(part) for part in error.absolute_path]
    keyword, value = str(error.validator), error.instance
    known: list[str] = []
    if keyword == "required" and isinstance(value, Mapping):
        path.append(next(name for name in error.validator_value if name not in value))
        return f"parameter {'.'.join(path)} of job {job!r}: it is missing"
    if keyword == "additionalProperties" and isinstance(value, Mapping):
        known = list(error.schema.get("properties", ()))
        name = next(name for name in value if name not in known)
        path, value = [*path, name], value[name]
    if not path:
        return f"parameters of job {job!r}: {_word(error, keyword, value, [], known)}"
    is_hidden = is_secret_value(path, value) or isinstance(value, Mapping | list)
    shown = "" if is_hidden else f"={show_json_value(value)}"
    return f"parameter {'.'.join(path)}{shown} of job {job!r}: {_word(error, keyword, value, path, known)}"


def _word(error: SchemaError, keyword: str, value: Any, path: list[str], known: list[str]) -> str:
    limit = error.validator_value
    if keyword == "additionalProperties":
        return word_rule({"type": "extra_forbidden", "loc": path[-1:]}, known)
    if keyword == "type":
        kinds = [limit] if isinstance(limit, str) else limit
        return " and ".join(word_rule({"type": _TYPES[kind]}) for kind in kinds)
    if keyword in ("enum", "const"):
        choices = [limit] if keyword == "const" else limit
        texts = [each if isinstance(each, str) else json.dumps(each) for each in choices]
        expected = " or ".join(filter(None, (", ".join(texts[:-1]), texts[-1])))
        return word_rule({"type": "enum", "ctx": {"expected": expected}})
    if keyword in _RULES:
        kind, name = _RULES[keyword]
        return word_rule({"type": kind, "ctx": {name: limit}, "input": value})
    if keyword in ("anyOf", "oneOf") and error.context:
        words = [_word(each, str(each.validator), value, path, known) for each in error.context]
        return " and ".join(dict.fromkeys(words))
    if keyword == "multipleOf":
        return f"it is not a multiple of {limit}"
    return f"it breaks the rule {keyword!r} of its schema"
