"""What pydantic finds wrong with a value, as a sentence of this project: the rule, and not the validator's type."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

_TYPES = {
    "string_type": "it is not a text",
    "finite_number": "it is not a finite number",
    "dict_type": "it is not a mapping of names to values",
    "model_type": "it is not a mapping of names to values",
    "none_required": "it is not null",
}
# Kinds of errors whose types begin alike, such as int_type, int_parsing and int_from_float.
_KINDS = {
    "int": "it is not a whole number",
    "float": "it is not a number",
    "decimal": "it is not a number",
    "bool": "it is not true or false",
    "tuple": "it is not a list",
    "list": "it is not a list",
    "set": "it is not a list",
    "frozen": "it is not a list",
    "datetime": "it is not an ISO time",
    "date": "it is not a date YYYY-MM-DD",
    "model": "it is not a mapping of names to values",
}
_LIMITS = {
    "greater_than_equal": "it is not at least {ge}",
    "greater_than": "it is not more than {gt}",
    "less_than_equal": "it is not at most {le}",
    "less_than": "it is not less than {lt}",
    "string_too_short": "it has fewer than {min_length} characters",
    "string_too_long": "it has more than {max_length} characters",
    "too_short": "it has fewer than {min_length} entries",
    "too_long": "it has more than {max_length} entries",
}


def word_rule(error: Mapping[str, Any], known: Collection[str] = (), patterns: Mapping[str, str] | None = None) -> str:
    """The rule that a value breaks, of one of the `errors()` of a ValidationError.

    `known` are the names that fields may have; `patterns` says in words what a regular expression asks for.
    """
    kind = str(error["type"])
    context = {
        name: f"{value:g}" if isinstance(value, float) else value for name, value in error.get("ctx", {}).items()
    }
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        return "it is missing"
    if kind == "extra_forbidden":
        return _word_unknown(str(error["loc"][-1]), known if len(error["loc"]) == 1 else ())
    if kind == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return f"it is not {(patterns or {}).get(pattern, f'of the form {pattern}')}"
    if kind in ("literal_error", "enum"):
        return f"it is not {str(context['expected']).replace(chr(39), '')}"
    if kind in _LIMITS and str(error["input"]).lower() == "nan":
        return _TYPES["finite_number"]
    if kind in _LIMITS:
        return _LIMITS[kind].format(**context)
    return _TYPES.get(kind) or _KINDS.get(kind.partition("_")[0]) or str(error["msg"])


def _word_unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return "nothing has this name" + (f"; did you mean {near[0]!r}?" if near else "")
