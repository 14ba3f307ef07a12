"""Python source with the types of the jobs' parameters, from the JSON Schemas that the pool has recorded.

Each job becomes a `TypedDict` of its parameters and a `TypedJob`, so that a type checker compares what is enqueued with
what the job takes. What a schema cannot say in types, such as a minimum, is checked by the client when it enqueues.
"""

import keyword
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from streamworkers.client.records import SubmittableJob

_HEADER = '''"""The jobs of this pool and their parameters, written by `streamworkers jobs stubs`. Do not edit."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Literal, Required, TypedDict

from streamworkers.client import TypedJob
'''
_PLAIN = {"integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_TEXTS = {"date": "date | str", "date-time": "datetime | str"}
_MOST_COLUMNS = 110


def write_stubs(jobs: Iterable[SubmittableJob]) -> str:
    """Return the source of a module with a `TypedJob` for each job; of several releases, the newest counts."""
    newest = {job.name: job for job in jobs}
    parts = [_HEADER]
    taken: set[str] = set()
    for name, job in sorted(newest.items()):
        parts += _JobWriter(job, taken).write()
        parts.append(f"{name.upper()}: TypedJob[{_camel(name)}Parameters] = TypedJob({name!r})\n")
    return "\n\n".join(parts)


class _JobWriter:
    """The classes of one job; `taken` has the names of those that are written already."""

    def __init__(self, job: SubmittableJob, taken: set[str]) -> None:
        self._job, self._taken = job, taken
        self._definitions: Mapping[str, Any] = job.parameters_schema.get("$defs", {})
        self._names: dict[str, str] = {}  # the types of the definitions that were looked at
        self._written: list[str] = []

    def write(self) -> list[str]:
        """Return the sources of the classes, the one of all parameters last."""
        own = self._name(f"{_camel(self._job.name)}Parameters")
        self._written.append(self._write_class(own, self._job.parameters_schema))
        return self._written

    def _name(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{wanted}{number}", number + 1
        self._taken.add(name)
        return name

    def _write_class(self, name: str, schema: Mapping[str, Any]) -> str:
        required = schema.get("required", ())
        types = {
            field: f"Required[{kind}]" if field in required else kind
            for field, part in schema.get("properties", {}).items()
            for kind in [self._type_of(part)]
        }
        if not all(field.isidentifier() and not keyword.iskeyword(field) for field in types):
            members = ", ".join(f"{field!r}: {kind}" for field, kind in types.items())
            return f"{name} = TypedDict({name!r}, {{{members}}}, total=False)\n"
        lines = [f"class {name}(TypedDict, total=False):", *_docstring(schema.get("description"), self._job.name)]
        lines += ["", *(f"    {field}: {kind}" for field, kind in types.items())] if types else []
        return "\n".join(lines) + "\n"

    def _type_of(self, schema: Any) -> str:
        """The type of a part of the schema; Any for what types cannot say."""
        if not isinstance(schema, Mapping):
            return "Any"
        if "$ref" in schema:
            return self._type_of_reference(str(schema["$ref"]))
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is not None:
            return _literal(values)
        several = schema.get("anyOf") or schema.get("oneOf")
        if several:
            return _union(self._type_of(each) for each in several)
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return _union(self._type_of({**schema, "type": kind}) for kind in kinds)
        return self._type_of_kind(str(kinds), schema)

    def _type_of_kind(self, kind: str, schema: Mapping[str, Any]) -> str:
        if kind == "string":
            return _TEXTS.get(str(schema.get("format")), "str")
        if kind == "array":
            member = self._type_of(schema.get("items"))
            return f"list[{member}] | tuple[{member}, ...]"
        if kind == "object":
            rest = schema.get("additionalProperties")
            return f"Mapping[str, {self._type_of(rest) if isinstance(rest, Mapping) else 'Any'}]"
        return _PLAIN.get(kind, "Any")

    def _type_of_reference(self, reference: str) -> str:
        target = reference.rpartition("/")[2]
        definition = self._definitions.get(target)
        if not isinstance(definition, Mapping):
            return "Any"
        if target in self._names:
            return self._names[target]
        if "properties" not in definition:
            self._names[target] = "Any"  # while it is looked at: it may name itself
            kind = self._type_of(definition)
            self._names[target] = kind
            return kind
        name = self._name(f"{_camel(self._job.name)}{_camel(target)}")
        self._names[target] = f'"{name}"'
        self._written.append(self._write_class(name, definition))
        return self._names[target]


def _camel(name: str) -> str:
    words = "".join(character if character.isascii() and character.isalnum() else " " for character in name).split()
    return "".join(word[:1].upper() + word[1:] for word in words)


def _union(kinds: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(kinds))


def _literal(values: Any) -> str:
    plain = isinstance(values, list) and all(value is None or isinstance(value, str | int) for value in values)
    return f"Literal[{', '.join(map(repr, values))}]" if plain and values else "Any"


def _docstring(description: object, job: str) -> list[str]:
    text = str(description or f"Parameters of the job {job}.").strip().partition("\n\n")[0]
    safe = " ".join(text.split()).replace("\\", "\\\\").replace('"', "'")
    lines = textwrap.wrap(safe, _MOST_COLUMNS) or [f"Parameters of the job {job}."]
    if len(lines) == 1:
        return [f'    """{lines[0]}"""']
    return [f'    """{lines[0]}', *(f"    {line}" for line in lines[1:]), '    """']
