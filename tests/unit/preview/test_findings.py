"""Each rule for drawn boards finds its fault, and nothing else."""

from typing import Any

import pytest

from preview.drawing import Drawing
from preview.findings import find_faults, share_of_cut_cells

GOOD: dict[str, Any] = {
    "id": 1,
    "title": "Runs",
    "type": "table",
    "rows": 2,
    "nothing": False,
    "failed": None,
    "titleCut": False,
    "emptyAxis": False,
    "smallestText": 12.0,
    "values": [{"title": "a", "text": "4", "isTime": False}],
    "headers": [{"column": "status", "text": "status", "cut": False, "overlaps": False}],
    "cells": [{"column": "status", "text": "RUNNING", "cut": False, "overlaps": False}],
    "thresholds": [
        {"column": "failed", "steps": [{"color": "green", "painted": "g"}, {"color": "red", "painted": "r"}]}
    ],
    "sentences": 0,
}
_SAME = [{"column": "failed", "steps": [{"color": "green", "painted": "b"}, {"color": "red", "painted": "b"}]}]


def _kinds(panel: dict[str, Any], *, errors: tuple[str, ...] = (), rests: bool = True) -> list[str]:
    return [fault.kind for fault in find_faults("tonight", Drawing("tonight", [panel], list(errors), rests))]


def test_a_good_board_has_no_fault() -> None:
    assert _kinds(GOOD) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"failed": "column does not exist", "nothing": True}, "failed"),
        ({"nothing": True}, "empty"),
        ({"values": [{"title": "Time", "text": "2026-01-14", "isTime": True}]}, "time"),
        ({"smallestText": 8.9}, "small"),
        ({"titleCut": True}, "title"),
        ({"sentences": 3}, "sentence"),
        ({"cells": [{"column": "status", "text": "COMPLETED_WITH_ERRORS", "cut": True, "overlaps": False}]}, "cut"),
        ({"cells": [{"column": "status", "text": "Nightly incomplete", "cut": False, "overlaps": True}]}, "overlap"),
        ({"emptyAxis": True}, "axis"),
        ({"thresholds": _SAME}, "colour"),
    ],
)
def test_each_fault_is_found(change: dict[str, Any], kind: str) -> None:
    assert _kinds(GOOD | change) == [kind]


def test_faults_of_the_page_are_found() -> None:
    assert _kinds(GOOD, errors=("TypeError",)) == ["console"]
    assert _kinds(GOOD, rests=False) == ["unrest"]


def test_a_panel_that_may_be_empty_is_no_fault_and_a_fault_names_board_and_panel() -> None:
    drawing = Drawing("tonight", [GOOD | {"nothing": True}], [], True)
    assert find_faults("tonight", drawing, {("tonight", "Runs")}) == []
    assert [str(fault) for fault in find_faults("tonight", drawing)] == ["tonight / Runs: it shows nothing"]


def test_the_share_of_cut_cells_counts_headers_and_is_zero_without_tables() -> None:
    cut = {"column": "a", "text": "a", "cut": True}
    assert share_of_cut_cells([{"headers": [cut], "cells": [cut | {"cut": False}]}]) == 0.5
    assert share_of_cut_cells([]) == 0.0
