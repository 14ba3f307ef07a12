"""Keeps the table of exchange sessions up to date, so that workers need no calendar package."""

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.logger import get_logger
from streamworkers.market.calendar.session_table import fill_sessions
from streamworkers.market.calendar.symbol_calendars import list_calendars
from streamworkers.market.calendar.windows import EXCHANGE_CALENDAR

log = get_logger()


class SessionFiller:
    """A background service: stores the sessions of each calendar once a day."""

    name = "exchange-sessions"
    scope = "all"
    interval_seconds = 3600.0  # a step does nothing if the last fill is recent

    def __init__(self, pool: "ConnectionPool[Connection]", default: str = EXCHANGE_CALENDAR) -> None:
        self._pool = pool
        self._default = default

    def run_once(self) -> float | None:
        """Fill the calendars that were not filled within a day."""
        with self._pool.connection() as connection:
            for calendar in list_calendars(connection, self._default):
                if fill_sessions(connection, calendar):
                    log.info("exchange_sessions_filled", calendar=calendar)
        return None
