"""The timeframe of an alert whose text names none."""

from streamworkers.alerts.document import Alert
from streamworkers.database import Connection
from streamworkers.market.bars.stored_timeframes import list_stored_timeframes

DEFAULT = "day"


def choose_timeframe(connection: Connection, alert: Alert) -> tuple[str, bool]:
    """The timeframe of an alert, and whether bars of its symbol are stored in it.

    Without one of its own it is the narrowest that is stored for its symbol, and `day` if nothing is, or if the alert
    is about several symbols; for those the second value is true.
    """
    symbols = () if alert.target is None else alert.target.symbols
    if len(symbols) != 1:
        return alert.timeframe or DEFAULT, True
    stored = list_stored_timeframes(connection, symbols[0])
    chosen = alert.timeframe or (stored[0] if stored else DEFAULT)
    return chosen, chosen in stored
