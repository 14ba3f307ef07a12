"""What is wrong with a panel although Grafana loads it: faults that only somebody who looks at the board would see."""

import re
from collections.abc import Iterator
from typing import Any

from grafana.layout import COLUMNS

Json = dict[str, Any]

# The narrowest window that a board is made for, without Grafana's margins; and what a column needs at least.
_WINDOW, _LEAST_COLUMN = 1248, 60
_IDS = ("run", "run_id")
_QUANTITIES = {None, "short"}
_STATES = "completed|failed|cancelled|rejected|missed|skipped|started|bullish|bearish|COMPLETED|FAILED"


def faults(panel: Json) -> list[str]:
    """Every fault of a panel, in words; an empty list for a good one."""
    return [*_reduced(panel), *_nulls(panel), *_colours(panel), *_ids(panel), *_widths(panel), *_series(panel)]


def _reduced(panel: Json) -> Iterator[str]:
    """A stat over all fields also shows the time of the answer."""
    fields = panel["options"].get("reduceOptions", {}).get("fields", "")
    if fields and not re.fullmatch(r"/\^[\w ]+\$/", fields):
        yield f"reduces the fields {fields}, which takes the time too"


def _nulls(panel: Json) -> Iterator[str]:
    """The text for "no value" of a table stands in each empty cell, unless mappings name nulls and empty texts.

    That of a number has the colour of the lowest threshold, which is red where little is bad.
    """
    named = [each["options"].get("match") for each in panel["fieldConfig"]["defaults"]["mappings"]]
    if panel["type"] in {"stat", "gauge"} and "null+nan" not in named:
        yield "colours a number that is missing"
    if panel["type"] != "table":
        return
    wanted = [panel["fieldConfig"]["defaults"]["mappings"]]
    wanted += [value for _, name, value in _overrides(panel) if name == "mappings"]
    found = [{each["options"].get("match") for each in mappings} for mappings in wanted]
    if any(not {"null+nan", "empty"} <= matches for matches in found):
        yield "shows its `noValue` in empty cells"


def _colours(panel: Json) -> Iterator[str]:
    """Thresholds colour a column or field only in the colour mode `thresholds`."""
    defaults = panel["fieldConfig"]["defaults"]
    modes = {at: value["mode"] for at, name, value in _overrides(panel) if name == "color"}
    for at, name, _ in _overrides(panel):
        if name == "thresholds" and modes.get(at) != "thresholds":
            yield f"the thresholds of {_named(panel, at)} colour nothing"
    coloured = len(defaults["thresholds"]["steps"]) > 1 and panel["type"] not in {"timeseries", "state-timeline"}
    if coloured and defaults["color"]["mode"] != "thresholds":
        yield "its thresholds colour nothing"


def _ids(panel: Json) -> Iterator[str]:
    """A run is a name: 4121, not 4.12 K."""
    if panel["type"] != "table":
        return
    text = " ".join(target.get("rawSql", "") for target in panel["targets"])
    units = {_named(panel, at): value for at, name, value in _overrides(panel) if name == "unit"}
    for column in _IDS:
        shown = re.search(rf"\b(?:AS|,|SELECT) {column}\b(?=\s*(?:,|\n|FROM))", text)
        if shown and units.get(column, panel["fieldConfig"]["defaults"].get("unit")) in _QUANTITIES:
            yield f"shows the id {column} as a quantity"


def _widths(panel: Json) -> Iterator[str]:
    """Columns that do not fit, or that cut their text."""
    if panel["type"] != "table":
        return
    width = sum(value for _, name, value in _overrides(panel) if name == "custom.width")
    room = _WINDOW * panel["gridPos"]["w"] // COLUMNS - 24
    if width + _LEAST_COLUMN > room:
        yield f"its columns are {width} pixels wide, and it has {room}"
    cells = [panel["fieldConfig"]["defaults"]["custom"]["cellOptions"]]
    cells += [value for _, name, value in _overrides(panel) if name == "custom.cellOptions"]
    if any(cell["type"] != "gauge" and not cell.get("wrapText") for cell in cells):
        yield "cuts texts instead of wrapping them"


def _series(panel: Json) -> Iterator[str]:
    """A legend without figures or full of zeros, and outcomes whose colour depends on their order."""
    if panel["type"] != "timeseries":
        return
    legend = panel["options"]["legend"]
    if legend["showLegend"] and legend["calcs"] != ["lastNotNull", "max"]:
        yield "its legend has no last value and no maximum"
    asked = [(target.get("legendFormat", ""), target.get("expr", "")) for target in panel["targets"]]
    if any("{{" in each and "max_over_time(" not in text for each, text in asked):
        yield "its legend lists series that are zero"
    fixed = {
        panel["fieldConfig"]["overrides"][at]["matcher"]["options"] for at, n, _ in _overrides(panel) if n == "color"
    }
    of_outcomes = any(re.search(r"\{\{(outcome|state|status|direction)\}\}", each) for each, _ in asked)
    if (of_outcomes or any(re.fullmatch(_STATES, each) for each, _ in asked)) and not fixed:
        yield "the colours of its outcomes depend on their order"


def _overrides(panel: Json) -> Iterator[tuple[int, str, Any]]:
    """Each property of each override, with the override's place."""
    for at, override in enumerate(panel["fieldConfig"]["overrides"]):
        for each in override["properties"]:
            yield at, each["id"], each["value"]


def _named(panel: Json, at: int) -> str:
    return str(panel["fieldConfig"]["overrides"][at]["matcher"]["options"])
