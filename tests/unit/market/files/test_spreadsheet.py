"""No cell of a file that we write begins what a spreadsheet computes, and nothing else is changed."""

import csv
from pathlib import Path

import pytest

from streamworkers.market.bars.text_rows import Reject
from streamworkers.market.files.rejects_file import open_rejects
from streamworkers.market.files.spreadsheet import guard_cell


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://127.0.0.1/?"&A1,"more")',
        "=cmd|' /C calc'!A0",
        "+1+cmd|' /C calc'!A0",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(A1:A9)",
        "\tA1",
        "\r=1+1",
    ],
)
def test_a_formula_becomes_a_text(text: str) -> None:
    assert guard_cell(text) == f"'{text}"
    if text[0] not in "\t\r":
        assert guard_cell(f"AAPL;{text};5") == f"AAPL;'{text};5", "where a semicolon separates cells"


@pytest.mark.parametrize(
    "text", ["", "AAPL", "AAPL,2024-03-04,1,-2", "-5", "-5.25", "+1,5", "-1e-7", "a=b", "5;-3.5;2"]
)
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert guard_cell(text) == text


def test_the_file_of_rejected_rows_holds_no_formula(tmp_path: Path) -> None:
    row = '=WEBSERVICE("http://127.0.0.1/"&A1),2024-03-04,1,1,1,1,1'
    with open_rejects(tmp_path / "rejects.csv") as rejects:
        rejects.write("=a.csv", [Reject(2, "bad_symbol", "@symbol", row)])
    with (tmp_path / "rejects.csv").open(encoding="utf-8", newline="") as file:
        _, line = csv.reader(file)
    assert line == ["'=a.csv", "2", "bad_symbol", "'@symbol", f"'{row}"]
