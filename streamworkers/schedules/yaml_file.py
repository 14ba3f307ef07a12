"""Schedules as YAML: `import` reads the format that `export` writes."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from streamworkers.errors import BadInputError
from streamworkers.schedules.definition import ScheduleDefinition
from streamworkers.schedules.yaml_errors import word_yaml_error

if TYPE_CHECKING:
    from streamworkers.config import Settings

# Names that release 0.1 wrote. Release 0.2 reads them with a warning; the next one need not.
OLD_FIELDS = {"job_type": "job", "task_params": "parameters"}
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_KINDS = {
    "tag:yaml.org,2002:int": "a whole number",
    "tag:yaml.org,2002:float": "a number",
    "tag:yaml.org,2002:timestamp": "a date or time that exists",
    "tag:yaml.org,2002:bool": "true or false",
}
_LONGEST_NUMBER = 400  # characters; those of YAML in base 60 cost the square of their length
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class YamlLimits:
    """The most bytes, values with what aliases repeat, and levels, of a YAML text."""

    bytes: int = 1 << 20
    values: int = 200_000
    depth: int = 32

    @classmethod
    def of(cls, settings: "Settings") -> "YamlLimits":
        """Return the limits of the settings."""
        return cls(settings.schedules_max_bytes, settings.schedules_max_values, settings.schedules_max_depth)


DEFAULT_LIMITS = YamlLimits()


def to_yaml(definitions: Sequence[ScheduleDefinition]) -> str:
    """A list with a mapping for each schedule; fields with their default value are left out."""
    rows = [{"name": d.name, **d.model_dump(mode="json", exclude_defaults=True)} for d in definitions]
    text: str = yaml.safe_dump(rows, sort_keys=False, allow_unicode=False, width=120)
    return text


def from_yaml(
    text: str, warn: Warn = lambda message: None, limits: YamlLimits = DEFAULT_LIMITS
) -> list[ScheduleDefinition]:
    """The schedules of a YAML text, each behind the one that it comes `after`.

    `warn` is called once for each old field name in the text. Raises BadInputError naming the place, the value and
    the rule.
    """
    definitions: dict[str, ScheduleDefinition] = {}
    old_names: dict[str, str] = {}
    for row in _read_rows(text, limits):
        definition = ScheduleDefinition.parse(_rename_old_fields(row, old_names))
        if definition.name in definitions:
            raise BadInputError(f"schedule {definition.name!r} is in the list twice")
        definitions[definition.name] = definition
    for old, new in old_names.items():
        warn(f"the field {old} is now named {new}; the next release does not read the old name")
    return _sort_by_dependency(definitions)


def _read_rows(text: str, limits: YamlLimits) -> list[dict[str, Any]]:
    size = len(text.encode(errors="surrogatepass"))
    if size > limits.bytes:
        raise BadInputError(f"the text of {size:,} bytes exceeds STREAMWORKERS_SCHEDULES_MAX_BYTES={limits.bytes}")
    try:
        rows = _load(text, limits)
    except yaml.YAMLError as error:
        raise BadInputError(f"it is not YAML: {word_yaml_error(error)}") from None
    if not isinstance(rows, list) or not rows:
        raise BadInputError("it is not a YAML list with a mapping for each schedule")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not all(isinstance(key, str) for key in row):
            raise BadInputError(f"schedule {number} of the list is {str(row)[:80]!r}, not a mapping of names to values")
    return rows


def _load(text: str, limits: YamlLimits) -> Any:
    """The value of a YAML text; each alias counts as all that it stands for, so that few of them cannot make many."""
    loader = _Loader(text, limits.depth)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _count_values(node, {}, limits.values) > limits.values:
            counted = "the number of values, with what aliases repeat,"
            raise BadInputError(f"{counted} exceeds STREAMWORKERS_SCHEDULES_MAX_VALUES={limits.values}")
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with a depth of its own, so that a text is not judged by the interpreter's stack."""

    def __init__(self, text: str, most_levels: int) -> None:
        super().__init__(text)
        self._depth, self._most_levels = 0, most_levels

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > self._most_levels:
            raise BadInputError(f"the depth of the text exceeds STREAMWORKERS_SCHEDULES_MAX_DEPTH={self._most_levels}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _LONGEST_NUMBER:
            raise BadInputError(f"{node.value[:40]!r}… is a number of more than {_LONGEST_NUMBER} characters")
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node. Raises YAMLError with its place also for what is tagged as a kind that it is not."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError):
            raise _to_yaml_error(node) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """The mapping of a node. Raises YAMLError for a name that it has twice: one of the values would be lost."""
        seen: set[str] = set()
        given: yaml.Node = node  # of any kind, where a tag says that it is a mapping
        for key, _ in given.value if isinstance(given, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = f"the name {key.value[:80]!r} is in its mapping twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _to_yaml_error(node: yaml.Node) -> yaml.YAMLError:
    value = node.value[:80] if isinstance(node, yaml.ScalarNode) else "the value"
    kind = _KINDS.get(node.tag, f"of the kind {node.tag}")
    return yaml.constructor.ConstructorError(None, None, f"{value!r} is not {kind}", node.start_mark)


def _count_values(node: yaml.Node, counted: dict[int, int], most: int) -> int:
    """The values of a node, counted once for each place that they stand in; one that holds itself has too many."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counted:
        counted[id(node)] = most + 1  # until its own number is known: what it holds may be an alias of it
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        counted[id(node)] = 1 + sum(_count_values(part, counted, most) for part in parts)
    return counted[id(node)]


def _rename_old_fields(row: dict[str, Any], old_names: dict[str, str]) -> dict[str, Any]:
    """A row with today's field names; the old names that it had are added to `old_names`."""
    renamed = {}
    for field, value in row.items():
        new = OLD_FIELDS.get(field, field)
        if new != field:
            if new in row:
                raise BadInputError(f"schedule {str(row.get('name'))[:80]!r} has both {field} and {new}: keep {new}")
            old_names[field] = new
        renamed[new] = value
    return renamed


def _sort_by_dependency(definitions: dict[str, ScheduleDefinition]) -> list[ScheduleDefinition]:
    ordered: dict[str, ScheduleDefinition] = {}
    for definition in definitions.values():
        chain: dict[str, ScheduleDefinition] = {}
        at: ScheduleDefinition | None = definition
        while at is not None and at.name not in ordered and at.name not in chain:
            chain[at.name] = at
            at = definitions.get(at.after) if at.after is not None else None
        ordered.update(reversed(chain.items()))
    return list(ordered.values())
