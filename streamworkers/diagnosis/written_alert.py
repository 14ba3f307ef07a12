"""What is said of an alert that was just written: what its rule is now, the next close, and what is missing."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from streamworkers.alerts.blindness import BlindnessCheck
from streamworkers.alerts.computable import parse_computable
from streamworkers.alerts.document import alert_to_json, alert_warnings
from streamworkers.alerts.firing_message import preview_alert
from streamworkers.alerts.first_look import FirstLook, look_at
from streamworkers.alerts.store.alerts import StoredAlert
from streamworkers.alerts.store.symbols import read_symbols
from streamworkers.database import Connection
from streamworkers.loading.listings import read_listings
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE
from streamworkers.schedules.loaded_series import find_loaded_symbols

MOST_LOOKS = 100


def describe_change(
    connection: Connection, stored: StoredAlert, default_calendar: str, most: int = MOST_LOOKS
) -> dict[str, Any]:
    """What one who has written an alert asks: is it true now, when does the next bar close, and is it blind?

    It looks at the first `most` symbols.
    """
    alert, symbols = parse_computable(stored.document), read_symbols(connection, stored.id)
    looks = look_at(connection, stored, symbols[:most], datetime.now(UTC), default_calendar)
    delisted = _find_delisted(connection, symbols[:most])
    check = BlindnessCheck(connection, datetime.now(UTC), default_calendar)
    blind = [look for look in looks if check.sight_of(look.symbol, stored.timeframe, look.bar, None) == "blind"]
    blind = [look for look in blind if look.bar is None or look.symbol not in delisted]
    loaded = find_loaded_symbols(connection, stored.timeframe) if blind else frozenset()
    warnings = [_warn_of_missing(stored.timeframe, look, look.symbol in loaded) for look in blind]
    warnings += [f"{symbol} was delisted after {day} and has no more bars" for symbol, day in delisted.items()]
    return {
        "id": stored.id,
        "name": stored.name,
        "version": stored.version,
        "symbols": len(symbols),
        "alert": alert_to_json(alert),
        "now": [_describe_look(look, has_ended=look.symbol in delisted) for look in looks],
        "waits": alert.rearm.initial == "wait",
        "message": preview_alert(alert),
        "warnings": [*alert_warnings(alert), *warnings],
    }


def _find_delisted(connection: Connection, symbols: Sequence[str]) -> dict[str, date]:
    """The last days of the symbols that were delisted, as far as loads know it."""
    today = datetime.now(EXCHANGE_ZONE).date()
    days = {symbol: found.delisted_after for symbol, found in sorted(read_listings(connection, symbols).items())}
    return {symbol: day for symbol, day in days.items() if day is not None and day < today}


def _describe_look(look: FirstLook, *, has_ended: bool) -> dict[str, Any]:
    close = None if has_ended else look.next_close
    return {"symbol": look.symbol, "rule": look.truth, "bar": look.bar, "next_close": close}


def _warn_of_missing(timeframe: str, look: FirstLook, is_loaded: bool) -> str:
    after = "" if look.bar is None else f" after {show_bar_time(look.bar, timeframe)}"
    end = "a schedule loads them" if is_loaded else "no schedule loads them"
    return f"no {timeframe} bars of {look.symbol}{after} are stored, and {end}"
