"""Places panels: sections under headings, panels from left to right, wrapping to the next line."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from grafana.panels import Panel
from grafana.queries import Json

COLUMNS = 24


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, numbered like a panel, and the panels under it. A collapsed one asks nothing until it is opened."""

    number: int
    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


def arrange(sections: Iterable[Section]) -> list[Json]:
    """The panels of all sections, each with its place, in reading order; those of a collapsed one are in its row.

    Raises ValueError for a panel that is wider than the board.
    """
    placed: list[Json] = []
    top = 0
    for section in sections:
        inside, bottom = _placed(section.panels, top + 1)
        row = {"type": "row", "id": section.number, "title": section.title, "collapsed": section.collapsed}
        place = {"h": 1, "w": COLUMNS, "x": 0, "y": top}
        placed.append({**row, "panels": inside if section.collapsed else [], "gridPos": place})
        if section.collapsed:
            top += 1
        else:
            placed += inside
            top = bottom
    return placed


def flat(panels: Iterable[Json]) -> Iterator[Json]:
    """The panels of a board, also those of collapsed rows."""
    for panel in panels:
        yield panel
        yield from panel.get("panels", ())


def _placed(panels: Iterable[Panel], top: int) -> tuple[list[Json], int]:
    """Panels from left to right below `top`, and where the next row begins."""
    placed: list[Json] = []
    left = height = 0
    for panel in panels:
        size = panel.size
        if size.width > COLUMNS:
            raise ValueError(f"panel {panel.model['title']!r} is {size.width} wide, more than {COLUMNS}")
        if left + size.width > COLUMNS:
            top += height
            left = height = 0
        placed.append({**panel.model, "gridPos": {"h": size.height, "w": size.width, "x": left, "y": top}})
        left += size.width
        height = max(height, size.height)
    return placed, top + height
