"""The parameters of a job in words, from the JSON Schema that a job's class gives and the pool records."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "mapping",
}
_FORMS = {"date": "date", "date-time": "time", "uuid": "UUID", "time": "time of day", "duration": "duration"}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "pattern": "of the form {}",
}
_DEEPEST = 8


class JobParameter(NamedTuple):
    """A parameter of a job: its type and its rules in words; `default` is None where it is required, too."""

    name: str
    type: str
    is_required: bool
    default: Any
    rule: str
    description: str


def describe_parameters(schema: Mapping[str, Any]) -> Iterator[JobParameter]:
    """Yield the parameters of a schema, in its order."""
    words = _SchemaWords(schema.get("$defs", {}))
    required = schema.get("required", ())
    for name, given in schema.get("properties", {}).items():
        part = given if isinstance(given, Mapping) else {}
        yield JobParameter(
            name,
            words.find_type(part),
            name in required,
            part.get("default"),
            ", ".join(dict.fromkeys(words.find_rules(part))),
            " ".join(str(part.get("description", "")).split()),
        )


class _SchemaWords:
    """Types and rules of the parts of one schema; parts may name definitions, which may name themselves."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions

    def find_type(self, part: Any, depth: int = 0) -> str:
        """The type of a part in words; `any value` for what a schema does not limit."""
        part = self._resolve(part)
        if depth > _DEEPEST or not part:
            return "any value"
        if several := part.get("anyOf") or part.get("oneOf"):
            return " or ".join(dict.fromkeys(self.find_type(each, depth + 1) for each in several))
        if "const" in part or "enum" in part:
            return ", ".join(map(str, part.get("enum") or [part.get("const")]))
        kinds = part.get("type")
        if isinstance(kinds, list):
            return " or ".join(self.find_type({**part, "type": kind}, depth + 1) for kind in kinds)
        if kinds == "array":
            return f"list of {self.find_type(part['items'], depth + 1)}" if part.get("items") else "list"
        if kinds == "string":
            return _FORMS.get(str(part.get("format")), "text")
        return _KINDS.get(str(kinds), "any value")

    def find_rules(self, part: Any, depth: int = 0) -> Iterator[str]:
        """Yield what a value must keep beyond its type."""
        part = self._resolve(part)
        if depth > _DEEPEST or not part:
            return
        for name, words in _LIMITS.items():
            if name in part:
                value = part[name]
                yield words.format(f"{value:.15g}" if isinstance(value, float) else value)
        for each in part.get("anyOf") or part.get("oneOf") or ():
            yield from self.find_rules(each, depth + 1)

    def _resolve(self, part: Any) -> Mapping[str, Any]:
        for _ in range(_DEEPEST):
            if not isinstance(part, Mapping):
                return {}
            if "$ref" not in part:
                return part
            part = self._definitions.get(str(part["$ref"]).rpartition("/")[2])
        return {}
