"""One version of Grafana for the stack and the preview, and boards that those before and after it can read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.boards import all_boards

ROOT = Path(__file__).parents[3]
PREVIEW = ROOT / "grafana" / "preview"
SCHEMA = PREVIEW / "node_modules" / "@grafana" / "schema" / "dist" / "types"

# What every release from 10 to 13 has; older ones ignore an option that they do not know, but draw no unknown panel.
PANELS = {
    "row",
    "text",
    "stat",
    "gauge",
    "bargauge",
    "table",
    "timeseries",
    "barchart",
    "candlestick",
    "state-timeline",
}
TRANSFORMATIONS = {
    *("merge", "organize", "sortBy", "limit", "reduce", "seriesToRows", "joinByField", "groupBy", "calculateField"),
    *("filterFieldsByName", "filterByValue", "filterByRefId", "labelsToFields", "renameByRegex", "convertFieldType"),
}
MATCHERS = {"byName", "byRegexp", "byType", "byFrameRefID", "byValue", "numeric", "time"}
CELLS = {"auto", "color-text", "color-background", "gauge", "json-view", "image", "sparkline"}
VARIABLES = {"datasource", "query", "custom", "textbox", "constant", "interval"}
Json = dict[str, Any]
MODELS = [pytest.param(board.model(), id=board.uid) for board in all_boards()]


def _panels(model: Json) -> Iterator[Json]:
    for panel in model["panels"]:
        yield panel
        yield from panel.get("panels", ())


def _properties(panel: Json) -> Iterator[Json]:
    for rule in panel.get("fieldConfig", {}).get("overrides", ()):
        yield from rule["properties"]


def test_the_stack_and_the_preview_have_one_version_of_grafana() -> None:
    packages = json.loads((PREVIEW / "package.json").read_text(encoding="utf-8"))["dependencies"]
    versions = {version for name, version in packages.items() if name.startswith("@grafana/")}
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert {f"grafana/grafana:{version}" for version in versions} == {compose["services"]["grafana"]["image"]}
    locked = json.loads((PREVIEW / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert {locked[f"node_modules/@grafana/{name}"]["version"] for name in ("data", "schema", "ui")} == versions


def test_the_docs_name_no_other_version_of_grafana() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    (version,) = re.findall(r"image: grafana/grafana:(\S+)", compose)
    paths = [
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").rglob("*.md"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
    ]
    named = {
        found
        for path in paths
        for found in re.findall(r"[Gg]rafana[ :](\d+\.\d+\.\d+)", path.read_text(encoding="utf-8"))
    }
    assert named <= {version}


def test_the_packages_are_pinned_and_the_lock_names_no_index() -> None:
    packages = json.loads((PREVIEW / "package.json").read_text(encoding="utf-8"))
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in packages["dependencies"].values())
    locked = json.loads((PREVIEW / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert not [name for name, each in locked.items() if "resolved" in each]
    assert all("integrity" in each for name, each in locked.items() if name)


def test_nothing_of_the_preview_ships() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wheel = re.search(r"targets\.wheel\]\nonly-include = (\[.*\])", pyproject)
    assert wheel is not None
    assert "grafana" not in wheel[1]
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert {"node_modules/", "grafana/preview/dist/", ".preview/"} <= set(ignored)


@pytest.mark.parametrize("model", MODELS)
def test_a_board_has_only_what_grafana_10_to_13_know(model: Json) -> None:
    assert {panel["type"] for panel in _panels(model)} <= PANELS
    assert {each["id"] for panel in _panels(model) for each in panel.get("transformations", ())} <= TRANSFORMATIONS
    rules = [rule for panel in _panels(model) for rule in panel.get("fieldConfig", {}).get("overrides", ())]
    assert {rule["matcher"]["id"] for rule in rules} <= MATCHERS
    cells = [
        each["value"]["type"]
        for panel in _panels(model)
        for each in _properties(panel)
        if each["id"] == "custom.cellOptions"
    ]
    assert set(cells) <= CELLS
    assert {variable["type"] for variable in model["templating"]["list"]} <= VARIABLES


@pytest.mark.parametrize("model", MODELS)
def test_every_option_of_a_panel_is_in_grafanas_schema(model: Json) -> None:
    if not SCHEMA.is_dir():
        pytest.skip("Grafana's packages are not installed: `make dashboards-preview` does it")
    common = (SCHEMA / "common" / "common.gen.d.ts").read_text(encoding="utf-8")
    unknown = [
        f"{panel['title']}: {name}"
        for panel in _panels(model)
        if panel["type"] != "row"
        for name in (*panel["options"], *_custom_options(panel))
        if not re.search(rf"\b{re.escape(name)}\??:", common + _schema_of(panel["type"]))
    ]
    assert unknown == []


def _custom_options(panel: Json) -> set[str]:
    named = (each["id"] for each in _properties(panel) if each["id"].startswith("custom."))
    return {
        *panel.get("fieldConfig", {}).get("defaults", {}).get("custom", {}),
        *(name.split(".")[1] for name in named),
    }


def _schema_of(kind: str) -> str:
    folder = SCHEMA / "raw" / "composable" / kind.replace("-", "")
    return (folder / "panelcfg" / "x" / "types.gen.d.ts").read_text(encoding="utf-8")
