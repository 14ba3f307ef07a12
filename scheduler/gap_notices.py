"""What people are notified of about missing bars: one event for all gaps that were found together."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from streamworkers.config import load_settings
from streamworkers.engine.outcome import Event, make_notice
from streamworkers.loading.gap_marks import RecentGap
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE

_MOST_NAMED = 200


def make_gap_notice(gaps: Mapping[tuple[str, str], RecentGap], now: datetime) -> Event:
    """The event about new gaps, by timeframe and symbol, that were found at a moment."""
    symbols = sorted({symbol for _, symbol in gaps})
    timeframes = sorted({name for name, _ in gaps})
    frame, symbol = min(gaps, key=lambda each: (gaps[each].first, each))
    data: dict[str, Any] = {
        "symbols": symbols[:_MOST_NAMED],
        "count": len(symbols),
        "timeframes": timeframes,
        "bars": sum(each.bars for each in gaps.values()),
        "first_day": _day(min(each.first for each in gaps.values())),
        "last_day": _day(max(each.last for each in gaps.values())),
        "symbol": symbol,
        "timeframe": frame,
    }
    return make_notice(load_settings().system_user, "data_gap", f"data_gap:{now.isoformat()}", data, priority="high")


def _day(moment: datetime) -> str:
    return moment.astimezone(EXCHANGE_ZONE).date().isoformat()
