"""The browser's words are passed on: what was drawn, and why something was not."""

from pathlib import Path

import pytest

from debian_packages import output_of
from preview.drawing import Job, draw
from preview.programs import FOLDER, missing, prepare
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
