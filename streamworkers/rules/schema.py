"""The JSON Schemas of documents, and messages of their violations that name the value and the rule."""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource

from streamworkers.rules.problem import RuleError, show_value
from streamworkers.symbols import SYMBOL_PATTERN, find_symbol_error

RULE_SCHEMA = ("streamworkers.rules", "rule-v1.json")
_KINDS = {
    "number": "a number",
    "integer": "a whole number",
    "string": "text",
    "object": "an object",
    "array": "a list",
    "boolean": "true or false",
    "null": "null",
}


@cache
def load_schema(package: str, name: str) -> dict[str, Any]:
    """A schema that is shipped in the folder `schemas` of a package."""
    text = resources.files(package).joinpath("schemas", name).read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def require_document(document: object, package: str = RULE_SCHEMA[0], name: str = RULE_SCHEMA[1]) -> None:
    """Raise RuleError for the first place where a document breaks a schema, in the order of the document.

    The validator is recursive: `require_limits` comes first.
    """
    errors = list(_validator(package, name).iter_errors(document))
    if errors:
        raise _to_rule_error(min(errors, key=lambda error: (_place(error, document), -len(error.absolute_path))))


def _find_mismatch(_: Any, pattern: str, value: object, __: Any) -> Iterator[ValidationError]:
    """In JSON Schema `$` is the end of a text; in Python it also stands before a line feed at the end."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = extend(Draft202012Validator, {"pattern": _find_mismatch})


@cache
def _validator(package: str, name: str) -> Validator:
    rule: Resource[Any] = Resource.from_contents(load_schema(*RULE_SCHEMA))
    registry: Registry[Any] = Registry().with_resource(uri="urn:streamworkers:rule:1", resource=rule)
    return _Validator(load_schema(package, name), registry=registry)


def _place(error: ValidationError, document: object) -> tuple[int, ...]:
    """Where the error is, as places of members in the order in which they were written."""
    place, inside = [], document
    for part in error.absolute_path:
        place.append(list(inside).index(part) if isinstance(inside, Mapping) else int(part))
        inside = inside[part]  # type: ignore[index]
    return tuple(place)


def _to_rule_error(error: ValidationError) -> RuleError:
    path = list(error.absolute_path)
    describe = _PROBLEMS.get(str(error.validator))
    if error.validator == "additionalProperties":
        return RuleError(*_unknown_member(path, error))
    return RuleError(path, describe(error.instance, error.validator_value) if describe else error.message)


def _unknown_member(path: list[str | int], error: ValidationError) -> tuple[list[str | int], str]:
    known = list(error.schema.get("properties", ()))
    name = next(name for name in error.instance if name not in known)
    if name in ("symbol", "timeframe"):
        return [*path, name], "fields are those of the rule's own symbol and timeframe; this member is reserved"
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return [*path, name], f"no member has this name here; {hint}"


def _wrong_type(value: object, kinds: Any) -> str:
    names = [kinds] if isinstance(kinds, str) else kinds
    return f"{show_value(value)} is not {' or '.join(_KINDS[name] for name in names)}"


def _missing(value: Any, names: Any) -> str:
    return f"lacks {next(name for name in names if name not in value)!r}"


def _wrong_choice(value: object, options: Any) -> str:
    near = difflib.get_close_matches(value, [str(each) for each in options], n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{show_value(value)} is not one of {', '.join(map(str, options))}{hint}"


def _no_match(value: str, pattern: str) -> str:
    problem = find_symbol_error(value) if pattern == SYMBOL_PATTERN else None
    return problem or f"{show_value(value)} does not match {pattern}"


_PROBLEMS: Mapping[str, Callable[[Any, Any], str]] = {
    "type": _wrong_type,
    "required": _missing,
    "enum": _wrong_choice,
    "const": lambda value, only: f"{show_value(value)} is not {only!r}, the only value so far",
    "minimum": lambda value, least: f"{value:g} is less than {least:g}",
    "maximum": lambda value, most: f"{value:g} is more than {most:g}",
    "exclusiveMinimum": lambda value, least: f"{value:g} is not more than {least:g}",
    "exclusiveMaximum": lambda value, most: f"{value:g} is not less than {most:g}",
    "minItems": lambda value, least: f"has {len(value)} values, fewer than {least}",
    "maxItems": lambda value, most: f"has {len(value)} values, more than {most}",
    "maxProperties": lambda value, most: f"has {len(value)} members, more than {most}",
    "minLength": lambda _value, least: f"is shorter than {least} characters",
    "maxLength": lambda value, most: f"has {len(value)} characters, more than {most}",
    "pattern": _no_match,
}
