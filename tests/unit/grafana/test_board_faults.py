"""No panel has a fault that only somebody who looks at it would see; each check finds its fault when it is put back."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from board_faults import faults
from grafana.boards import all_boards
from grafana.columns import column, run_column, state_column
from grafana.layout import Section, arrange, flat
from grafana.looks import Look, above
from grafana.panels import About, Panel, Size, stat, table, timeseries, verdict
from grafana.queries import promql, sql

Json = dict[str, Any]

_PANELS = [
    pytest.param(panel, id=f"{board.uid}-{panel['id']}")
    for board in all_boards()
    for panel in flat(board.model()["panels"])
    if panel["type"] not in {"row", "text"}
]
_ABOUT = About(1, "a panel", "What does it answer, and what is to be done then?")
_TABLE = table(
    _ABOUT,
    [sql("SELECT id AS run, status, error, age FROM runs")],
    Look(
        unit="short",
        columns=(run_column(), state_column("status"), column("age", "s", width=90, steps=above(1, 2))),
        no_value="nothing yet",
    ),
    Size(12, 8),
)
_STAT = stat(_ABOUT, [promql("up", "up")], Look(unit="short", thresholds=above(1, 2)), Size(4, 4))
_LINES = timeseries(_ABOUT, [promql("up", "{{job}} {{outcome}}")], Look(unit="short"), Size(12, 8))
_SENTENCE = verdict(_ABOUT, [sql("SELECT 'all well' AS verdict")], Look(unit="none"), Size(12, 4), field="verdict")


def _placed(panel: Panel) -> Json:
    return copy.deepcopy(arrange([Section(9, "a section", [panel])])[1])


def _override(panel: Json, number: int) -> list[Json]:
    properties: list[Json] = panel["fieldConfig"]["overrides"][number]["properties"]
    return properties


def _drop(properties: list[Json], name: str) -> None:
    properties[:] = [each for each in properties if each["id"] != name]


def _cut_text(panel: Json) -> None:
    panel["fieldConfig"]["defaults"]["custom"]["cellOptions"]["wrapText"] = False


def _reduce_all(panel: Json) -> None:
    panel["options"]["reduceOptions"]["fields"] = "/.*/"


def _classic(panel: Json) -> None:
    panel["fieldConfig"]["defaults"]["color"]["mode"] = "palette-classic"


_PUT_BACK: list[tuple[str, Panel, Callable[[Json], Any], str]] = [
    ("time in a stat", _STAT, _reduce_all, "takes the time too"),
    ("time in a verdict", _SENTENCE, _reduce_all, "takes the time too"),
    ("coloured nothing", _STAT, lambda p: p["fieldConfig"]["defaults"]["mappings"].clear(), "that is missing"),
    ("uncoloured stat", _STAT, _classic, "its thresholds colour nothing"),
    ("sentence in cells", _TABLE, lambda p: p["fieldConfig"]["defaults"]["mappings"].clear(), "in empty cells"),
    ("sentence for empty texts", _TABLE, lambda p: p["fieldConfig"]["defaults"]["mappings"].pop(1), "in empty cells"),
    ("sentence in states", _TABLE, lambda p: _override(p, 1)[0]["value"].pop(0), "in empty cells"),
    ("uncoloured column", _TABLE, lambda p: _drop(_override(p, 2), "color"), "thresholds of age colour nothing"),
    ("4.12 K", _TABLE, lambda p: _drop(_override(p, 0), "unit"), "the id run as a quantity"),
    ("wide columns", _TABLE, lambda p: _override(p, 2).append({"id": "custom.width", "value": 900}), "pixels wide"),
    ("cut texts", _TABLE, _cut_text, "cuts texts"),
    ("bare legend", _LINES, lambda p: p["options"]["legend"]["calcs"].clear(), "no last value"),
    ("zeros", _LINES, lambda p: p["targets"][0].update(expr="up"), "series that are zero"),
    ("any colour", _LINES, lambda p: p["fieldConfig"]["overrides"].clear(), "depend on their order"),
]


@pytest.mark.parametrize("panel", _PANELS)
def test_no_panel_of_a_board_has_a_fault(panel: Json) -> None:
    assert faults(panel) == []


@pytest.mark.parametrize("panel", [_TABLE, _STAT, _LINES, _SENTENCE], ids=["table", "stat", "lines", "sentence"])
def test_builders_make_panels_without_a_fault(panel: Panel) -> None:
    assert faults(_placed(panel)) == []


@pytest.mark.parametrize(
    ("panel", "put_back", "words"), [case[1:] for case in _PUT_BACK], ids=[case[0] for case in _PUT_BACK]
)
def test_a_fault_that_is_put_back_is_found(panel: Panel, put_back: Callable[[Json], Any], words: str) -> None:
    model = _placed(panel)
    put_back(model)
    assert [fault for fault in faults(model) if words in fault]


def test_annotations_of_runs_are_on_only_where_runs_are_the_subject() -> None:
    on = {
        (board.uid, each["name"])
        for board in all_boards()
        for each in board.model()["annotations"]["list"][1:]
        if each["enable"]
    }
    assert {uid for uid, name in on if name == "Runs"} == {"streamworkers-tonight"}
    assert {uid for uid, name in on if name == "Worker kills"} == {"streamworkers-tonight", "streamworkers-queues"}


def test_a_collapsed_section_keeps_its_panels_in_its_row() -> None:
    rows = arrange(
        [Section(1, "open", [_STAT]), Section(2, "closed", [_LINES], collapsed=True), Section(3, "next", [])]
    )
    assert [(panel["type"], panel["gridPos"]["y"]) for panel in rows] == [
        ("row", 0),
        ("stat", 1),
        ("row", 5),
        ("row", 6),
    ]
    assert [panel["title"] for panel in rows[2]["panels"]] == ["a panel"]
    assert len(list(flat(rows))) == 5
