"""The browser's words are passed on: what was drawn, and why something was not."""

from pathlib import Path

import pytest

from debian_packages import output_of
from preview.drawing import Job, draw
from preview.programs import FOLDER, missing, prepare
from preview.sheet import Sheet, Tile, write_sheets
from streamworkers.errors import UsageError


def test_a_board_that_cannot_be_drawn_is_named_with_the_words_of_the_page(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(f"the boards cannot be drawn here: {reason}")
    prepare()
    with pytest.raises(UsageError, match=r"boards could not be drawn: tonight: .*TypeError"):
        draw([Job("tonight", '{"theme": "dark", "width": 800}', None)], tmp_path)


def test_the_page_agrees_with_grafanas_types() -> None:
    if reason := missing():
        pytest.skip(f"the page cannot be checked here: {reason}")
    assert output_of([FOLDER / "node_modules" / ".bin" / "tsc", "--project", "."], FOLDER, 120) == ""


def test_pictures_stand_side_by_side_in_one_file_and_a_missing_one_is_named(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(f"the boards cannot be drawn here: {reason}")
    prepare()
    board = Path(__file__).parents[2] / "docs" / "images" / "board-tonight.webp"
    both = Sheet(tmp_path / "both.webp", [Tile(str(board), "one"), Tile(str(board), "two")], 400, 2, 100)
    write_sheets([both], tmp_path)
    written = both.webp.read_bytes()
    assert (written[:4], written[8:12]) == (b"RIFF", b"WEBP")
    lost = Sheet(tmp_path / "lost.webp", [Tile(str(tmp_path / "lost.png"))], 400)
    with pytest.raises(UsageError, match=r"(?s)pictures could not be put side by side: .*lost\.png"):
        write_sheets([lost], tmp_path)
