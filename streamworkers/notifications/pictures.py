"""The picture of a firing: prices up to the bar, the level of the rule, and where it fired; with the extra `charts`."""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import psycopg

from streamworkers.database import Connection
from streamworkers.faults import describe
from streamworkers.logger import get_logger
from streamworkers.market.bars.export import read_range
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, TIMEFRAMES, Timeframe
from streamworkers.notifications.content import Picture
from streamworkers.notifications.drawing import Drawing, can_draw, draw
from streamworkers.notifications.wording import Worded

log = get_logger()
_BARS = 120
_SPAN = {  # in which about so many bars are
    "1min": timedelta(hours=6),
    "hour": timedelta(days=20),
    "day": timedelta(days=180),
    "week": timedelta(weeks=130),
    "month": timedelta(days=3650),
}


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
    return Picture(
        draw(Drawing(bars, title, () if shown is None else (shown,))),
        description + ("" if shown is None else f", level {shown:.10g}"),
    )


def _firing_of(data: Mapping[str, Any]) -> tuple[str, Timeframe, datetime] | None:
    symbol, name, bar_time = data.get("symbol"), data.get("timeframe"), data.get("bar_time")
    if not isinstance(symbol, str) or not isinstance(bar_time, str) or name not in _SPAN:
        return None
    try:
        fired_at = datetime.fromisoformat(bar_time)
    except ValueError:
        return None
    return None if fired_at.tzinfo is None else (symbol, TIMEFRAMES[str(name)], fired_at)
