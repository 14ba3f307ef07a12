"""The examples of the guide to alerts fire where the guide says, and their pictures are those of the engine."""

import re
from pathlib import Path

import pytest

from alert_examples import GUIDE, Example, read_examples
from draw_alerts import IMAGES, draw
from streamworkers.alerts.message import DEFAULT_TEMPLATE, PLACEHOLDERS

TEXT = GUIDE.read_text(encoding="utf-8")
EXAMPLES = read_examples()


def test_there_are_twelve_examples_of_all_kinds() -> None:
    assert len(EXAMPLES) == len(re.findall(r"^### \d+\. ", TEXT, re.MULTILINE)) == 12
    shown = {example.alert.rearm.type for example in EXAMPLES}
    assert shown == {"edge", "once", "crossing", "hysteresis", "persistence", "cooldown"}
    assert all(len(example.price) == len(example.volume) == len(example.fires) for example in EXAMPLES)
    assert {*"".join(example.fires for example in EXAMPLES)} == {"F", "."}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.picture)
def test_an_example_fires_where_the_guide_says(example: Example) -> None:
    trial, _ = example.run()
    assert "".join("F" if step.fired else "." for step in trial.steps) == example.fires


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.picture)
def test_a_picture_is_current_and_its_words_name_the_firings(example: Example) -> None:
    assert (IMAGES / example.picture).read_text(encoding="utf-8") == draw(example), "run `make pictures`"
    bars = [str(place + 1) for place, letter in enumerate(example.fires) if letter == "F"]
    named = " and ".join(filter(None, (", ".join(bars[:-1]), bars[-1])))
    assert f"![It fires at bar{'s' if bars[1:] else ''} {named}](../images/alerts/{example.picture})" in TEXT


def test_every_picture_belongs_to_an_example() -> None:
    assert {path.name for path in Path(IMAGES).iterdir()} == {example.picture for example in EXAMPLES}


def test_the_guide_has_every_placeholder() -> None:
    rows = [f"| `{{{name}}}` | {each.meaning} | {each.kind} |" for name, each in PLACEHOLDERS.items()]
    assert "\n".join(rows) in TEXT
    assert f"`{DEFAULT_TEMPLATE}`" in TEXT
