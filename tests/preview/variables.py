"""The values of a board's variables when it is opened: the one that is set, else the first of its options."""

import re
from collections.abc import Mapping
from typing import Any

from grafana_macros import Range, Value, expand_promql, expand_sql
from preview.scene import Scene
from preview.spans import Span

ALL = "$__all"
_LABELS = re.compile(r"label_values\((?:(.+),)?\s*(\w+)\)", re.DOTALL)
Json = dict[str, Any]


def variables_of(board: Json, scene: Scene, span: Span) -> list[Json]:
    """Every variable with its shown text and its value; of several values, a list."""
    found: list[Json] = []
    values: dict[str, Value] = {}
    for variable in board["templating"]["list"]:
        name = variable["name"]
        text, value = _chosen(variable, scene, span, values)
        values[name] = value
        shown = {key: variable.get(key, default) for key, default in (("label", ""), ("hide", 0))}
        found.append({"name": name, "text": text, "value": value, "all": variable.get("allValue"), **shown})
    return found


def values_for(kind: str, variables: list[Json]) -> dict[str, Value]:
    """The values as queries take them: for PromQL, a variable's `allValue` stands for all of its values."""
    found: dict[str, Value] = {}
    for variable in variables:
        is_all = variable["text"] == "All" and variable["all"] is not None
        found[variable["name"]] = variable["all"] if kind == "promql" and is_all else variable["value"]
    return found


def _chosen(variable: Json, scene: Scene, span: Span, known: Mapping[str, Value]) -> tuple[str, Value]:
    kind, name = variable["type"], variable["name"]
    if kind == "datasource":
        return name, name
    if kind in ("textbox", "constant"):
        return variable["query"], variable["query"]
    if kind == "custom":
        current = variable.get("current") or variable["options"][0]
        given = scene.chosen.get(name)
        return (given, given) if given is not None else (current["text"], current["value"])
    options = _options(variable, scene, span, known)
    current = variable.get("current", {})
    if variable.get("multi") and current.get("value") == [ALL]:
        return "All", [value for _, value in options]
    wanted = scene.chosen.get(name, current.get("value"))
    text, value = next((each for each in options if each[1] == wanted), options[0] if options else ("None", ""))
    return text, [value] if variable.get("multi") else value


def _options(variable: Json, scene: Scene, span: Span, known: Mapping[str, Value]) -> list[tuple[str, str]]:
    definition = variable["definition"]
    if labels := _LABELS.fullmatch(definition.strip()):
        matching = labels[1] and expand_promql(labels[1], {name: _as_pattern(value) for name, value in known.items()})
        return [(value, value) for value in scene.prometheus.label_values(labels[2], matching, scene.now)]
    cursor = scene.connection.execute(expand_sql(definition, known, Range(span.start, span.end)))
    names = [column.name for column in cursor.description or ()]
    text, value = (names.index(name) if name in names else 0 for name in ("__text", "__value"))
    return [(str(row[text]), str(row[value])) for row in cursor.fetchall()]


def _as_pattern(value: Value) -> Value:
    return value if isinstance(value, str) else ".*"
