"""Schedules as YAML: what `export` writes is what `import` reads."""

from collections.abc import Sequence
from typing import Any

import yaml

from streamworkers.errors import BadInputError
from streamworkers.schedules.definition import ScheduleDefinition

MAX_BYTES = 1 << 20


def to_yaml(definitions: Sequence[ScheduleDefinition]) -> str:
    """A list with a mapping for each schedule, without what is as it is by default."""
    rows = [{"name": d.name, **d.model_dump(mode="json", exclude_defaults=True)} for d in definitions]
    text: str = yaml.safe_dump(rows, sort_keys=False, allow_unicode=False, width=120)
    return text


def from_yaml(text: str) -> list[ScheduleDefinition]:
    """The schedules of a YAML text, those that others come after first.

    Raises BadInputError naming the place, the value and the rule.
    """
    if len(text) > MAX_BYTES:
        raise BadInputError(f"a YAML text of {len(text):,} characters is over the limit of {MAX_BYTES:,}")
    try:
        rows: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError) as error:
        # What is tagged as a number or a date and is none fails in the constructors, in ways of their own.
        raise BadInputError(f"it is not YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(rows, list) or not rows:
        raise BadInputError("it is not a YAML list with a mapping for each schedule")
    definitions: dict[str, ScheduleDefinition] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
            raise BadInputError(f"schedule {number} of the list is {str(row)[:80]!r}, not a mapping of names to values")
        definition = ScheduleDefinition.parse(row)
        if definition.name in definitions:
            raise BadInputError(f"schedule {definition.name!r} stands in the list twice")
        definitions[definition.name] = definition
    return _parents_first(definitions)


def _parents_first(definitions: dict[str, ScheduleDefinition]) -> list[ScheduleDefinition]:
    ordered: dict[str, ScheduleDefinition] = {}
    for definition in definitions.values():
        chain: dict[str, ScheduleDefinition] = {}
        at: ScheduleDefinition | None = definition
        while at is not None and at.name not in ordered and at.name not in chain:
            chain[at.name] = at
            at = definitions.get(at.after) if at.after is not None else None
        ordered.update(reversed(chain.items()))
    return list(ordered.values())
