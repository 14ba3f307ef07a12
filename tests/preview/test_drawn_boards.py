"""The boards as Grafana's own components draw them: nothing on them is unreadable, empty, cut or without its colour."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from grafana.boards import all_boards
from harness import ServiceUrls
from preview.answers import as_text, page_input
from preview.drawing import Job, draw
from preview.findings import find_faults
from preview.programs import missing, prepare
from preview.scene import Scene
from preview.scenes import SCENES

Json = dict[str, Any]
WIDTH = 1280

# What shows nothing on a normal evening: series and rows that exist during a problem only.
MAY_BE_EMPTY: set[tuple[str, str]] = {
    ("streamworkers-market", "Outages"),
    ("streamworkers-queues", "Alerts firing"),
    ("streamworkers-queues", "Put back into queues a minute"),
    ("streamworkers-queues", "Requeue after a death p50, p95, p99"),
    ("streamworkers-queues", "Undecided items"),
    ("streamworkers-scheduler", "Connections of listeners in an hour"),
    ("streamworkers-scheduler", "Failed steps of background services"),
    ("streamworkers-scheduler", "Waiting ticks"),
    ("streamworkers-stores", "Faults"),
    ("streamworkers-stores", "Workers that hold"),
    ("streamworkers-tonight", "Alerts firing"),
}
BOARDS: dict[str, Json] = {board.uid: json.loads(board.text()) for board in all_boards()}


def _panels(kind: str) -> Iterator[Json]:
    for model in BOARDS.values():
        for panel in model["panels"]:
            yield from (each for each in (panel, *panel.get("panels", ())) if each["type"] == kind)


def _with(kind: str, change: Callable[[Json], None], wanted: Callable[[Json], bool] = lambda _: True) -> Json:
    """A board of the panels of a kind, as many as fit on one screen, with a fault put into each."""
    model: Json = deepcopy(BOARDS["streamworkers-queues"])
    chosen = [deepcopy(panel) for panel in _panels(kind) if wanted(panel)][:6]
    assert chosen, f"no {kind} is like that"
    variables = {each["name"]: each for board in BOARDS.values() for each in board["templating"]["list"]}
    for place, panel in enumerate(chosen):
        panel["id"] = place + 1
        panel["gridPos"] = {"x": place % 2 * 12, "y": place // 2 * 8, "w": 12, "h": 8}
        change(panel)
    model["panels"], model["templating"] = chosen, {"list": list(variables.values())}
    model["annotations"] = {"list": []}
    return model


def _take_the_time_too(panel: Json) -> None:
    panel["options"]["reduceOptions"]["fields"] = "/.*/"
    panel["fieldConfig"]["overrides"] = []


def _colour_by_place(panel: Json) -> None:
    panel["fieldConfig"]["defaults"]["color"] = {"mode": "palette-classic"}
    for rule in panel["fieldConfig"]["overrides"]:
        rule["properties"] = [each for each in rule["properties"] if each["id"] != "color"]


def _say_nothing_here(panel: Json) -> None:
    """In every cell without a value, which takes what the boards put there away."""
    panel["fieldConfig"]["defaults"] |= {"noValue": "nothing here", "mappings": []}
    for rule in panel["fieldConfig"]["overrides"]:
        rule["properties"] = [each for each in rule["properties"] if each["id"] not in ("noValue", "mappings")]
    for target in panel["targets"]:
        target["rawSql"] = "SELECT 'a' AS symbol, NULL::text AS reason"


def _make_columns_narrow(panel: Json) -> None:
    panel["fieldConfig"]["defaults"]["custom"] |= {"width": 34, "cellOptions": {"type": "auto"}}
    panel["fieldConfig"]["overrides"] = []


def _map_to_long_texts(panel: Json) -> None:
    """Longer than the values, by which Grafana measures the height of a row."""
    panel["fieldConfig"]["defaults"]["custom"] |= {"width": 90, "cellOptions": {"type": "auto", "wrapText": True}}
    words = {"type": "regex", "options": {"pattern": ".+", "result": {"text": "Nightly run incomplete", "index": 0}}}
    panel["fieldConfig"]["defaults"]["mappings"] = [words]
    panel["fieldConfig"]["overrides"] = []
    for target in panel["targets"]:
        target["rawSql"] = "SELECT 'Nightly' AS alert, 'analysis' AS about FROM generate_series(1, 3)"


def _hide_every_line(panel: Json) -> None:
    hidden = {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": True, "viz": True}}
    panel["fieldConfig"]["overrides"] = [{"matcher": {"id": "numeric"}, "properties": [hidden]}]


def _make_small(panel: Json) -> None:
    panel["gridPos"] |= {"w": 1, "h": 2}


def _give_a_long_title(panel: Json) -> None:
    panel["title"] = "A title that is far longer than its panel is wide"
    panel["gridPos"] |= {"w": 3}


def _ask_for_nothing(panel: Json) -> None:
    for target in panel["targets"]:
        target["rawSql"] = "SELECT 1 AS one WHERE false"


def _ask_wrongly(panel: Json) -> None:
    for target in panel["targets"]:
        target["rawSql"] = "SELECT no_such_column FROM runs"


def _break_the_drawing(panel: Json) -> None:
    """By an expression that is none, at which the page throws an error."""
    panel["fieldConfig"]["overrides"] = [{"matcher": {"id": "byRegexp", "options": "/[/"}, "properties": []}]


def _asks_prometheus(panel: Json) -> bool:
    return "expr" in panel["targets"][0]


def _has_thresholds(panel: Json) -> bool:
    rules = panel["fieldConfig"]["overrides"]
    return any(each["id"] == "thresholds" for rule in rules for each in rule["properties"])


def _asks_postgres(panel: Json) -> bool:
    return "rawSql" in panel["targets"][0]


FAULTY: dict[str, Callable[[], Json]] = {
    "time": lambda: _with("stat", _take_the_time_too, _asks_prometheus),
    "colour": lambda: _with("table", _colour_by_place, _has_thresholds),
    "sentence": lambda: _with("table", _say_nothing_here, _asks_postgres),
    "cut": lambda: _with("table", _make_columns_narrow, _asks_postgres),
    "overlap": lambda: _with("table", _map_to_long_texts, _asks_postgres),
    "axis": lambda: _with("timeseries", _hide_every_line, _asks_prometheus),
    "small": lambda: _with("stat", _make_small),
    "title": lambda: _with("stat", _give_a_long_title),
    "empty": lambda: _with("table", _ask_for_nothing, _asks_postgres),
    "failed": lambda: _with("table", _ask_wrongly, _asks_postgres),
    "console": lambda: _with("table", _break_the_drawing, _asks_postgres),
}


@pytest.fixture
def can_draw() -> None:
    """Skips, visibly, where nothing can be drawn."""
    if reason := missing():
        pytest.skip(f"the boards cannot be drawn here: {reason}")
    prepare()


def _jobs(scene: Scene, models: dict[str, Json]) -> list[Job]:
    drawn = {"theme": "dark", "width": WIDTH, "open": True, "probe": True}
    return [Job(name, as_text({**page_input(model, scene), **drawn}), None) for name, model in models.items()]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("can_draw")
def test_a_person_can_read_every_panel_of_the_evening_and_each_fault_put_back_is_seen(
    service_urls: ServiceUrls, tmp_path: Path
) -> None:
    """One test, because one scene and one browser serve for all of it."""
    faulty = {kind: make() for kind, make in FAULTY.items()}
    with SCENES["evening"](service_urls, tmp_path) as scene:
        drawings = {each.name: each for each in draw(_jobs(scene, BOARDS | faulty), tmp_path)}
    faults = [fault for uid in BOARDS for fault in find_faults(uid, drawings[uid], MAY_BE_EMPTY)]
    assert not faults, "\n".join(["", *map(str, sorted(faults))])
    assert all(len(drawings[uid].panels) > 5 for uid in BOARDS)
    for kind in FAULTY:
        assert kind in {fault.kind for fault in find_faults("altered", drawings[kind])}, kind


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("can_draw")
def test_the_boards_of_a_new_installation_have_answers_and_no_error(service_urls: ServiceUrls, tmp_path: Path) -> None:
    with SCENES["first"](service_urls, tmp_path) as scene:
        found = draw(_jobs(scene, BOARDS), tmp_path)
    faults = [fault for each in found for fault in find_faults(each.name, each)]
    wrong = [fault for fault in faults if fault.kind not in ("empty", "cut")]
    assert not wrong, "\n".join(["", *map(str, sorted(wrong))])


def test_every_panel_that_may_be_empty_exists() -> None:
    titles = {
        (uid, each["title"])
        for uid, model in BOARDS.items()
        for panel in model["panels"]
        for each in (panel, *panel.get("panels", ()))
    }
    assert titles >= MAY_BE_EMPTY
