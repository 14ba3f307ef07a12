"""A picture of each board for a person to check: the data of its panels, plainly drawn."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import shorten
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from watching.boards import Answer, Panel

_COLUMNS = 3
_PANEL_SIZE = (6.4, 3.0)
_ROWS, _CELLS, _CHARACTERS = 9, 7, 22


def draw(title: str, panels: Sequence[tuple[Panel, Sequence[Answer]]], path: Path) -> None:
    """Draw panels with their answers in a grid and write it as PNG."""
    lines = math.ceil(len(panels) / _COLUMNS)
    figure, grid = plt.subplots(
        lines, _COLUMNS, figsize=(_COLUMNS * _PANEL_SIZE[0], lines * _PANEL_SIZE[1]), squeeze=False
    )
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (panel, answers) in zip(grid.flat, panels, strict=False):
        axes.set_title(f"{panel.title}  [{panel.type}]", fontsize=9, loc="left")
        _draw_panel(axes, panel.type, answers)
    figure.suptitle(title, fontsize=13)
    figure.tight_layout()
    figure.savefig(path, dpi=70)
    plt.close(figure)


def _draw_panel(axes: Axes, kind: str, answers: Sequence[Answer]) -> None:
    rows = [row for answer in answers for row in answer.rows]
    series = [one for answer in answers for one in answer.series]
    if errors := [answer.error for answer in answers if answer.error]:
        axes.text(0, 0.5, shorten(errors[0], 90), color="red", fontsize=8)
    elif kind == "candlestick" and rows:
        _candles(axes, rows)
    elif kind in ("timeseries", "state-timeline", "barchart") and (series or _is_over_time(rows)):
        _lines(axes, series, rows)
    elif series:
        _latest(axes, series)
    elif rows:
        _cells(axes, rows)
    else:
        axes.text(0.4, 0.5, "no data", color="grey", fontsize=10)


def _is_over_time(rows: Sequence[Mapping[str, Any]]) -> bool:
    return bool(rows) and "time" in rows[0]


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromtimestamp(float(value), UTC)


def _lines(axes: Axes, series: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_axis_on()
    for one in series[:12]:
        values = [(datetime.fromtimestamp(at, UTC), float(value)) for at, value in one["values"]]
        label = " ".join(value for name, value in one["metric"].items() if name not in ("__name__", "instance"))
        axes.plot(*zip(*values, strict=True), label=label[:30] or "value", linewidth=1)
    groups: dict[str, list[tuple[datetime, float]]] = {}
    for row in rows:
        word = " ".join(str(value) for name, value in row.items() if isinstance(value, str) and name != "time")
        for name, value in row.items():
            if name != "time" and value is not None and not isinstance(value, str | bool | datetime):
                groups.setdefault(f"{word} {name}".strip(), []).append((_moment(row["time"]), float(value)))
    for label, points in list(groups.items())[:12]:
        axes.plot(*zip(*sorted(points), strict=True), marker=".", label=label[:30] or "value", linewidth=1)
    axes.tick_params(labelsize=6)
    if axes.lines:
        axes.legend(fontsize=6, loc="upper left")


def _latest(axes: Axes, series: Sequence[Mapping[str, Any]]) -> None:
    for place, one in enumerate(series[:_ROWS]):
        label = " ".join(value for name, value in one["metric"].items() if name not in ("__name__", "instance"))
        value = float(one["values"][-1][1])
        size = 22 if len(series) == 1 else 9
        axes.text(0.02, 0.85 - place * 0.1, f"{value:,.4g}  {label[:50]}", fontsize=size)


def _cells(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    names = list(rows[0])[:_CELLS]
    if len(rows) == 1 and len(rows[0]) == 1:
        axes.text(0.05, 0.4, str(rows[0][names[0]]), fontsize=22)
        return
    cells = [[shorten(str(row[name]), _CHARACTERS, placeholder="…") for name in names] for row in rows[:_ROWS]]
    table = axes.table(cellText=cells, colLabels=names, loc="upper left", cellLoc="left", bbox=Bbox.unit())
    table.auto_set_font_size(False)
    table.set_fontsize(6)


def _candles(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    axes.set_axis_on()
    for place, row in enumerate(rows[-80:]):
        low, high, begin, end = (float(row[name]) for name in ("low", "high", "open", "close"))
        colour = "green" if end >= begin else "red"
        axes.plot([place, place], [low, high], color=colour, linewidth=0.6)
        axes.plot([place, place], [begin, end], color=colour, linewidth=2.5)
    axes.tick_params(labelsize=6)
