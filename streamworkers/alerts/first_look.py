"""What an alert says when it is added: whether its rule is true now, and when the next bar closes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from streamworkers.alerts.blindness import find_next_close, read_windows_around
from streamworkers.alerts.computable import parse_computable
from streamworkers.alerts.store.alerts import StoredAlert
from streamworkers.alerts.store.work import factor_since, read_rebases
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
    connection: Connection, stored: StoredAlert, symbols: Sequence[str], now: datetime, default_calendar: str
) -> list[FirstLook]:
    """What the rule of an alert is now for each symbol. A crossing is true only at the bar at which it happens."""
    alert, frame = parse_computable(stored.document), timeframe_named(stored.timeframe)
    rebases = read_rebases(connection, frame.name, symbols)
    windows = read_windows_around(connection, read_calendar_rules(connection, default_calendar), symbols, now)
    looks, before = [], bars_before(alert.rule, frame)
    for symbol in symbols:
        bars = read_stored_bars(connection, symbol, frame, before, BarPeriod(now, newest=1), default_calendar)
        close = find_next_close(windows[symbol], frame, now)
        if bars.closes:
            factor = factor_since(rebases.get(symbol, ()), stored.rule_from)
            truth = int(try_stored(alert, bars, factor).evaluation.value[-1])
            looks.append(FirstLook(symbol, TRUTH_NAMES[truth], bars.start_of(len(bars.bars) - 1), close))
        else:
            looks.append(FirstLook(symbol, None, None, close))
    return looks
