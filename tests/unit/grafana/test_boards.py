"""The committed boards are those of the code, complete, and name only what exists."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from grafana.__main__ import FOLDER, differing, main
from grafana.boards import all_boards
from grafana.layout import COLUMNS, Section, arrange, flat
from grafana.panels import Panel, Size
from grafana_macros import expand_promql

ROOT = Path(__file__).parents[3]
PROVISIONING = ROOT / "grafana" / "provisioning"
UIDS = [
    "streamworkers-tonight",
    "streamworkers-queues",
    "streamworkers-runs",
    "streamworkers-market",
    "streamworkers-alerts",
    "streamworkers-notifications",
    "streamworkers-scheduler",
    "streamworkers-messages",
    "streamworkers-api",
    "streamworkers-stores",
    "streamworkers-runbook",
]
_MODELS = [board.model() for board in all_boards()]
_PANELS = [
    pytest.param(panel, id=f"{model['uid']}-{panel['id']}")
    for model in _MODELS
    for panel in flat(model["panels"])
    if panel["type"] not in {"row", "text"}
]
_BOARDS = [pytest.param(model, id=model["uid"]) for model in _MODELS]
_VALUES_OF_VARIABLES = {"queue": ".*", "job": ".*", "schedule": ["one", "two"], "drain": "600"}
_METRIC = re.compile(r"\bstreamworkers_[a-z0-9_]+")
_SUFFIXES = ("", "_bucket", "_sum", "_count")


def _expressions() -> Iterator[str]:
    """Every PromQL expression of panels and annotations."""
    for model in _MODELS:
        for owner in (*flat(model["panels"]), *model["annotations"]["list"]):
            targets = [*owner.get("targets", ()), owner.get("target", {})]
            yield from (target["expr"] for target in targets if "expr" in target)


def _label_queries() -> Iterator[str]:
    for model in _MODELS:
        for variable in model["templating"]["list"]:
            if variable["type"] == "query" and "label_values" in variable["definition"]:
                yield variable["definition"]


def _links(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("url"), str):
            yield value["url"]
        for inner in value.values():
            yield from _links(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _links(inner)


def test_regenerating_changes_nothing() -> None:
    assert differing(FOLDER) == []
    assert main(["--check"]) == 0


def test_check_lists_differing_files_and_writing_repairs_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path)]) == 0
    (tmp_path / "streamworkers-tonight.json").write_text("{}", encoding="utf-8")
    (tmp_path / "streamworkers-gone.json").write_text("{}", encoding="utf-8")
    capsys.readouterr()
    assert main(["--check", "--folder", str(tmp_path)]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "streamworkers-gone.json",
        "streamworkers-tonight.json",
    ]
    assert main(["--folder", str(tmp_path)]) == 0
    assert main(["--check", "--folder", str(tmp_path)]) == 0


def test_uids_never_change() -> None:
    assert [model["uid"] for model in _MODELS] == UIDS
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(UIDS)


@pytest.mark.parametrize("model", _BOARDS)
def test_a_board_is_one_that_grafana_10_to_13_load(model: dict[str, Any]) -> None:
    assert 36 <= model["schemaVersion"] < 42
    assert model["tags"] == ["streamworkers"]
    assert model["title"]
    assert model["description"]
    assert model["id"] is None
    assert [entry["name"] for entry in model["annotations"]["list"][1:]] == ["Runs", "Worker kills", "Deploys"]
    assert model["links"][0]["tags"] == ["streamworkers"]
    names = [variable["name"] for variable in model["templating"]["list"]]
    assert names[:2] == ["prometheus", "postgres"]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("model", _BOARDS)
def test_panels_of_a_board_have_unique_numbers_and_titles(model: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in flat(model["panels"])]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in flat(model["panels"]) if panel["type"] != "row"]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("model", _BOARDS)
def test_no_two_panels_overlap(model: dict[str, Any]) -> None:
    _do_not_overlap(model["panels"])
    for panel in model["panels"]:
        _do_not_overlap(panel.get("panels", ()))


def _do_not_overlap(panels: Iterable[dict[str, Any]]) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} stands on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_a_panel_wider_than_the_board_is_rejected() -> None:
    wide = Panel({"title": "wide"}, Size(25, 1))
    with pytest.raises(ValueError, match="'wide' is 25 wide"):
        arrange([Section(1, "a", [wide])])


@pytest.mark.parametrize("panel", _PANELS)
def test_a_panel_has_a_description_and_a_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 40
    assert panel["description"].endswith((".", "?"))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    letters = [target["refId"] for target in panel["targets"]]
    assert len(set(letters)) == len(letters)
    assert panel["datasource"]["uid"] in {"${prometheus}", "${postgres}"}


@pytest.mark.parametrize("panel", _PANELS)
def test_thresholds_rise_from_one_without_a_value(panel: dict[str, Any]) -> None:
    fields = panel["fieldConfig"]
    found = [fields["defaults"]["thresholds"]]
    for override in fields["overrides"]:
        found += [each["value"] for each in override["properties"] if each["id"] == "thresholds"]
    for thresholds in found:
        values = [step["value"] for step in thresholds["steps"]]
        assert values[0] is None
        assert values[1:] == sorted(values[1:])


def _names_in_code() -> set[str]:
    """Every metric that a supervisor or a scheduler exposes, counters with `_total`."""
    from unit.test_docs import _registries

    registries: dict[str, CollectorRegistry] = _registries()
    return {
        metric.name + ("_total" if metric.type == "counter" else "")
        for registry in registries.values()
        for collector in registry._collector_to_names
        for metric in collector.describe()  # type: ignore[attr-defined]
    }


def test_every_metric_that_is_named_exists() -> None:
    named = {name for text in (*_expressions(), *_label_queries()) for name in _METRIC.findall(text)}
    assert len(named) > 40
    known = {name + suffix for name in _names_in_code() for suffix in _SUFFIXES}
    assert named - known == set()


def test_every_expression_is_balanced_with_its_variables() -> None:
    for text in _expressions():
        expanded = expand_promql(text, _VALUES_OF_VARIABLES)
        for opening, closing in ("()", "[]", "{}"):
            assert expanded.count(opening) == expanded.count(closing), expanded


def test_every_link_leads_to_a_board() -> None:
    urls = [url for model in _MODELS for url in _links(model) if url]
    assert len(urls) > 10
    for url in urls:
        found = re.match(r"/d/([a-z-]+)(?:\?|$)", url)
        assert found is not None, url
        assert found[1] in UIDS, url
        for name in re.findall(r"var-(\w+)=", url):
            target = next(model for model in _MODELS if model["uid"] == found[1])
            assert name in {variable["name"] for variable in target["templating"]["list"]}, url


@pytest.mark.parametrize("panel", _PANELS)
def test_a_link_to_a_row_names_a_selected_column(panel: dict[str, Any]) -> None:
    asked = " ".join(target.get("rawSql") or target["expr"] for target in panel["targets"])
    for url in _links(panel):
        for name in re.findall(r"__data\.fields\.(\w+)", url):
            assert re.search(rf"\b{name}\b", asked), name


@pytest.mark.parametrize("path", sorted(PROVISIONING.glob("*/*.yml")), ids=lambda path: str(path.name))
def test_provisioning_is_yaml_without_a_secret(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    parsed = yaml.safe_load(text)
    assert parsed["apiVersion"] == 1
    for key, value in re.findall(
        r"^\s*-?\s*(\w*(?:[Pp]assword|[Tt]oken|[Ss]ecret|url|user)\w*):\s*(.+?)\s*$", text, re.M
    ):
        assert re.fullmatch(r"['\"]?\$\{?[A-Z_]+\}?['\"]?", value), f"{key} is written down"


def test_datasources_have_the_kinds_that_boards_use() -> None:
    text = (PROVISIONING / "datasources" / "streamworkers.yml").read_text(encoding="utf-8")
    kinds = [source["type"] for source in yaml.safe_load(text)["datasources"]]
    wanted = {v["query"] for model in _MODELS for v in model["templating"]["list"] if v["type"] == "datasource"}
    assert set(kinds) == wanted


def test_the_guide_has_a_section_and_a_small_picture_of_each_board() -> None:
    guide = (ROOT / "docs" / "guides" / "boards.md").read_text(encoding="utf-8")
    for model in _MODELS:
        section = guide.partition(f"## {model['title']}\n")[2].partition("\n## ")[0]
        assert f"`/d/{model['uid']}`" in section, model["title"]
        pictures = re.findall(r"\]\(\.\./images/(board-[\w-]+\.webp)\)", section)
        assert len(pictures) == (0 if model["uid"] == "streamworkers-runbook" else 1)
        for picture in pictures:
            assert (ROOT / "docs" / "images" / picture).stat().st_size < 100_000


def test_committed_boards_are_json_of_their_own_uid() -> None:
    for path in FOLDER.glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))["uid"] == path.stem
