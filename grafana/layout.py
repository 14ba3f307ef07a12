"""Places panels: sections under headings, panels from left to right, wrapping to the next line."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from grafana.panels import Panel, row
from grafana.queries import Json

COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, numbered like a panel, and the panels under it."""

    number: int
    title: str
    panels: Sequence[Panel]


def arrange(sections: Iterable[Section]) -> list[Json]:
    """The panels of all sections, each with its place, in reading order.

    Raises ValueError for a panel that is wider than the board.
    """
    placed: list[Json] = []
    top = 0
    for section in sections:
        placed.append(_at(row(section.number, section.title), 0, top))
        top += 1
        left = height = 0
        for panel in section.panels:
            if panel.size.width > COLUMNS:
                raise ValueError(f"panel {panel.model['title']!r} is {panel.size.width} wide, more than {COLUMNS}")
            if left + panel.size.width > COLUMNS:
                top += height
                left = height = 0
            placed.append(_at(panel, left, top))
            left += panel.size.width
            height = max(height, panel.size.height)
        top += height
    return placed


def _at(panel: Panel, left: int, top: int) -> Json:
    return {**panel.model, "gridPos": {"h": panel.size.height, "w": panel.size.width, "x": left, "y": top}}
