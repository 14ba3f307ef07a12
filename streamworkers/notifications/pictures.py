"""The picture of a firing: prices up to the bar, the level of the rule, and where it fired; with the extra `charts`."""

import io
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import psycopg
import structlog

from streamworkers.database import Connection
from streamworkers.faults import describe
from streamworkers.market.bars.bars import Bars
from streamworkers.market.bars.export import read_range
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.notifications.content import Picture
from streamworkers.notifications.wording import Worded

log = structlog.get_logger()
_BARS = 120
_SPAN = {  # in which about so many bars are
    "1min": timedelta(hours=6),
    "hour": timedelta(days=20),
    "day": timedelta(days=180),
    "week": timedelta(weeks=130),
    "month": timedelta(days=3650),
}
_SIZE, _DPI = (8.0, 4.5), 100
_PRICE, _LEVEL, _FIRED = "#3465a4", "#c4a000", "#cc0000"


def can_draw() -> bool:
    """True where the extra `charts` is installed."""
    return find_spec("matplotlib") is not None


def draw_picture(connection: Connection, notifications: Sequence[Worded]) -> Picture | None:
    """Return the picture of a message: that of one firing. A picture that cannot be drawn keeps no message back."""
    if len(notifications) != 1 or notifications[0].type != "alert_fired":
        return None
    try:
        return draw_firing(connection, notifications[0].data)
    except psycopg.Error:
        raise
    except Exception as error:  # noqa: BLE001  # of a library that draws, or of data of another program
        log.warning("picture_not_drawn", error=describe(error))
        return None


def draw_firing(connection: Connection, data: Mapping[str, Any]) -> Picture | None:
    """Return the picture of the firing in `data` of a notification; None if there is nothing to draw, or to draw with.

    Bars after the firing are left out, so that it shows what was known.
    """
    found = _firing_of(data)
    if found is None or not can_draw():
        return None
    symbol, frame, fired_at = found
    place: date | datetime = fired_at if frame.intraday else fired_at.astimezone(EXCHANGE_ZONE).date()
    end = place + (timedelta(microseconds=1) if frame.intraday else timedelta(days=1))
    bars = read_range(connection, [symbol], frame, place - _SPAN[frame.name], end).get(symbol)
    if bars is None or len(bars) < 2:
        return None
    bars = bars.at(slice(-_BARS, None))
    level = data.get("level")
    shown = float(level) if isinstance(level, int | float) and math.isfinite(level) else None
    title = f"{symbol}, {frame.name}"
    description = f"{symbol}: {len(bars)} {frame.name} bars, close {bars.close[-1]:.10g}"
    return Picture(_draw(bars, title, shown), description + ("" if shown is None else f", level {shown:.10g}"))


def _firing_of(data: Mapping[str, Any]) -> tuple[str, Timeframe, datetime] | None:
    symbol, name, bar_time = data.get("symbol"), data.get("timeframe"), data.get("bar_time")
    if not isinstance(symbol, str) or not isinstance(bar_time, str) or name not in _SPAN:
        return None
    try:
        fired_at = datetime.fromisoformat(bar_time)
    except ValueError:
        return None
    return None if fired_at.tzinfo is None else (symbol, TIMEFRAMES[str(name)], fired_at)


def _draw(bars: Bars, title: str, level: float | None) -> bytes:
    """Draw without pyplot, whose figures are shared by all threads and never go."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    times = bars.times.astype("datetime64[ms]").astype(object)
    axes.fill_between(times, bars.low, bars.high, color=_PRICE, alpha=0.2, linewidth=0)
    axes.plot(times, bars.close, color=_PRICE, linewidth=1.5)
    if level is not None and _is_near(level, bars):
        axes.axhline(level, color=_LEVEL, linestyle="--")
        axes.annotate(f"{level:.10g}", (times[0], level), textcoords="offset points", xytext=(0, 4), color=_LEVEL)
    axes.plot([times[-1]], [bars.close[-1]], marker="o", color=_FIRED, markersize=8)
    axes.annotate(f"{bars.close[-1]:.10g}", (times[-1], bars.close[-1]), textcoords="offset points", xytext=(-8, 10),
                  ha="right", color=_FIRED, weight="bold")  # fmt: skip
    # A dollar sign would begin a formula.
    axes.set_title(title.replace("$", r"\$"), loc="left")
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _is_near(level: float, bars: Bars) -> bool:
    """A level far from all prices, such as that of an RSI, would press them into a line."""
    low, high = float(bars.low.min()), float(bars.high.max())
    room = max(high - low, high * 0.01)
    return low - room <= level <= high + room
