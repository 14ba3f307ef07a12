"""What is wrong on a drawn board, by what the page says is seen on it. Pure functions."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from preview.drawing import Drawing, Json

LEAST_PIXELS = 9.0
# The share of a board's cells that are cut at 1,280 pixels.
MOST_CUT = 0.05


@dataclass(frozen=True, slots=True, order=True)
class DrawnFault:
    """One fault of a panel, or of the board where `panel` is ''. `kind` is the rule that it breaks."""

    board: str
    panel: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.board} / {self.panel or 'the board'}: {self.text}"


def find_faults(board: str, drawing: Drawing, may_be_empty: Collection[tuple[str, str]] = ()) -> list[DrawnFault]:
    """Every fault of a board; `may_be_empty` names panels, by board and title, that show nothing on a good day."""
    found = [
        DrawnFault(board, panel["title"], kind, text) for panel in drawing.panels for kind, text in _of_panel(panel)
    ]
    found += [
        DrawnFault(board, panel["title"], "empty", "it shows nothing")
        for panel in drawing.panels
        if panel["nothing"] and not panel["failed"] and (board, panel["title"]) not in may_be_empty
    ]
    found += [DrawnFault(board, "", "console", f"the console says {error!r}") for error in drawing.errors]
    if not drawing.has_rested:
        found.append(DrawnFault(board, "", "unrest", "the page never came to rest"))
    found += [DrawnFault(board, "", "cut", text) for text in _cut_cells(drawing.panels)]
    return found


def share_of_cut_cells(panels: Sequence[Json]) -> float:
    """The share of all cells of tables, headers included, whose text does not fit."""
    cells = [cell for panel in panels for cell in (*panel["headers"], *panel["cells"])]
    return sum(cell["cut"] for cell in cells) / len(cells) if cells else 0.0


def _of_panel(panel: Json) -> Iterator[tuple[str, str]]:
    if panel["failed"]:
        yield "failed", panel["failed"]
    for value in panel["values"]:
        if value["isTime"]:
            yield "time", f"the figure {value['text']!r} is a time that nobody asked for"
    if panel["smallestText"] is not None and panel["smallestText"] < LEAST_PIXELS:
        yield "small", f"a text is {panel['smallestText']:.1f} pixels high, less than {LEAST_PIXELS:g}"
    if panel["titleCut"]:
        yield "title", "its title is cut"
    if panel["rows"] and panel["sentences"]:
        yield "sentence", f"{panel['sentences']} cells of a table with rows say what an empty table is to say"
    if panel["emptyAxis"]:
        yield "axis", "it draws an axis without a line, where words should say that there is nothing"
    for cell in (*panel["headers"], *panel["cells"]):
        if cell["overlaps"]:
            yield "overlap", f"{cell['text']!r} in column {cell['column']!r} covers what is beside it"
    for column in panel["thresholds"]:
        yield from _of_thresholds(column)


def _of_thresholds(column: Json) -> Iterator[tuple[str, str]]:
    """Two steps of different colours must not look the same."""
    seen: dict[str, str] = {}
    for step in column["steps"]:
        other = seen.setdefault(step["painted"], step["color"])
        if other != step["color"]:
            yield "colour", f"column {column['column']!r} looks the same when it should be {other} and {step['color']}"
            return


def _cut_cells(panels: Sequence[Json]) -> Iterator[str]:
    share = share_of_cut_cells(panels)
    if share > MOST_CUT:
        worst = sorted(panels, key=lambda panel: sum(cell["cut"] for cell in panel["cells"]), reverse=True)[:3]
        names = ", ".join(
            f"{panel['title']} ({', '.join(sorted({cell['column'] for cell in panel['cells'] if cell['cut']}))})"
            for panel in worst
            if any(cell["cut"] for cell in panel["cells"])
        )
        yield f"{share:.0%} of its cells are cut, more than {MOST_CUT:.0%}: {names}"
