"""Draws prices as a PNG: levels and lines over them, values of another measure below; with the extra `charts`."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamworkers.market.bars.bars import Bars

_SIZE, _DPI = (8.0, 4.5), 100
_MARGINS = {"left": 0.09, "right": 0.98, "top": 0.93, "bottom": 0.09, "hspace": 0.06}  # a layout takes twice as long
_PRICE, _LEVEL, _NEWEST = "#3465a4", "#c4a000", "#cc0000"
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a picture shows. The last bar is marked; `over` has lines among the prices, `below` others."""

    bars: Bars
    title: str
    levels: Sequence[float] = ()
    over: Mapping[str, Values] = field(default_factory=dict)
    below: Mapping[str, Values] = field(default_factory=dict)


def can_draw() -> bool:
    """True where the extra `charts` is installed."""
    return find_spec("matplotlib") is not None


def draw(drawing: Drawing) -> bytes:
    """Draw without pyplot, whose figures are shared by all threads and never go."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI)
    figure.subplots_adjust(**_MARGINS)
    canvas = FigureCanvasAgg(figure)
    times = drawing.bars.times.astype("datetime64[ms]").astype(object)
    ratios = [3, 1] if drawing.below else [1]
    rows = figure.subplots(len(ratios), sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios})[:, 0]
    _draw_prices(rows[0], drawing, times)
    if drawing.below:
        _draw_lines(rows[1], drawing.below, times)
        rows[1].grid(alpha=0.3)
    _mark_times(rows[-1])
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _draw_prices(axes: Any, drawing: Drawing, times: Any) -> None:
    bars = drawing.bars
    axes.fill_between(times, bars.low, bars.high, color=_PRICE, alpha=0.2, linewidth=0)
    axes.plot(times, bars.close, color=_PRICE, linewidth=1.5)
    for level in drawing.levels:
        if is_near(level, bars):
            axes.axhline(level, color=_LEVEL, linestyle="--")
            axes.annotate(f"{level:.10g}", (times[0], level), textcoords="offset points", xytext=(0, 4), color=_LEVEL)
    axes.plot([times[-1]], [bars.close[-1]], marker="o", color=_NEWEST, markersize=8)
    axes.annotate(f"{bars.close[-1]:.10g}", (times[-1], bars.close[-1]), textcoords="offset points", xytext=(-8, 10),
                  ha="right", color=_NEWEST, weight="bold")  # fmt: skip
    _draw_lines(axes, drawing.over, times)
    axes.set_title(_plain(drawing.title), loc="left")
    axes.grid(alpha=0.3)


def _draw_lines(axes: Any, lines: Mapping[str, Values], times: Any) -> None:
    for place, (name, values) in enumerate(lines.items(), 1):
        axes.plot(times, values, color=f"C{place}", linewidth=1, label=_plain(name))
    if lines:
        axes.legend(loc="upper left", fontsize="small")


def _mark_times(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _plain(text: str) -> str:
    """A dollar sign would begin a formula."""
    return text.replace("$", r"\$")


def is_near(level: float, bars: Bars) -> bool:
    """A level far from all prices, such as that of an RSI, would press them into a line."""
    low, high = float(bars.low.min()), float(bars.high.max())
    room = max(high - low, high * 0.01)
    return low - room <= level <= high + room
