"""What an alert says when it is added: whether its rule is true now, and when the next bar closes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamworkers.alerts.blindness import find_next_close, read_windows_around
from streamworkers.alerts.document import Alert
from streamworkers.alerts.stored_bars import BarPeriod, bars_before, read_stored_bars
from streamworkers.alerts.trial import TRUTH_NAMES, try_stored
from streamworkers.database import Connection
from streamworkers.market.calendar.symbol_calendars import read_calendar_rules
from streamworkers.market.calendar.timeframes import timeframe_named


@dataclass(frozen=True, slots=True)
class FirstLook:
    """One symbol: what the rule is at its newest complete bar (None: none is stored), and the next close."""

    symbol: str
    truth: str | None
    bar: datetime | None
    next_close: datetime | None


def look_at(
    connection: Connection, alert: Alert, symbols: Sequence[str], now: datetime, default_calendar: str
) -> list[FirstLook]:
    """What the rule of an alert is now for each symbol. A crossing is true only at the bar at which it happens."""
    assert alert.timeframe is not None
    frame = timeframe_named(alert.timeframe)
    windows = read_windows_around(connection, read_calendar_rules(connection, default_calendar), symbols, now)
    looks, before = [], bars_before(alert.rule, frame)
    for symbol in symbols:
        stored = read_stored_bars(connection, symbol, frame, before, BarPeriod(now, newest=1), default_calendar)
        close = find_next_close(windows[symbol], frame, now)
        if stored.closes:
            truth = int(try_stored(alert, stored).evaluation.value[-1])
            bar = stored.start_of(len(stored.bars) - 1)
            looks.append(FirstLook(symbol, TRUTH_NAMES[truth], bar, close))
        else:
            looks.append(FirstLook(symbol, None, None, close))
    return looks
