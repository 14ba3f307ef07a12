"""The table of exchange sessions: filled from the calendar package, read by processes that must not load it.

The package imports pandas, which takes 60 MB in every process that plans a load.
"""

import time
from datetime import UTC, date, datetime, timedelta

import psycopg

from streamworkers.market.calendar.sessions import (
    YEARS_AHEAD,
    ExchangeSession,
    compute_sessions,
    keep_sessions,
)

FILLED_CALENDARS = ("XNYS",)
FIRST_DAY = date(1990, 1, 1)
FILL_AGAIN_AFTER = timedelta(days=1)
_READ_AGAIN_SECONDS = 86_400.0
_read_at: dict[str, float] = {}


def fill_sessions(connection: psycopg.Connection, name: str, now: datetime | None = None) -> bool:
    """Compute the sessions of a calendar and store them, unless this was done within a day; True if it did.

    The stored range reaches from `FIRST_DAY` to the end of the year `YEARS_AHEAD` years after `now` (aware).
    """
    now = now or datetime.now(UTC)
    row = connection.execute("SELECT filled_at FROM exchange_calendars WHERE calendar = %s", (name,)).fetchone()
    if row is not None and now - row[0] < FILL_AGAIN_AFTER:
        return False
    sessions = compute_sessions(name, FIRST_DAY, date(now.year + YEARS_AHEAD, 12, 31))
    with connection.transaction():
        # The row of the calendar is locked first, so that two processes that fill it take turns.
        connection.execute(
            "INSERT INTO exchange_calendars AS c (calendar, first_day, last_day, filled_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (calendar) DO UPDATE SET first_day = excluded.first_day, last_day = excluded.last_day,"
            " filled_at = excluded.filled_at",
            (name, FIRST_DAY, sessions.ends_on, now),
        )
        connection.execute("DELETE FROM exchange_sessions WHERE calendar = %s", (name,))
        with connection.cursor().copy("COPY exchange_sessions (calendar, day, opens_at, closes_at) FROM STDIN") as copy:
            for session in sessions.sessions:
                copy.write_row((name, session.day, session.opens, session.closes))
    return True


def read_sessions(connection: psycopg.Connection, name: str) -> bool:
    """Read the stored sessions of a calendar into this process, at most once a day; False if none are stored.

    `sessions_between` then answers from them, and needs the package only for days beyond the stored range.
    """
    if time.monotonic() - _read_at.get(name, float("-inf")) < _READ_AGAIN_SECONDS:
        return True
    row = connection.execute(
        "SELECT first_day, last_day FROM exchange_calendars WHERE calendar = %s", (name,)
    ).fetchone()
    if row is None:
        return False
    rows = connection.execute(
        "SELECT day, opens_at, closes_at FROM exchange_sessions WHERE calendar = %s AND day BETWEEN %s AND %s"
        " ORDER BY day",
        (name, *row),
    )
    sessions = [ExchangeSession(day, opens.astimezone(UTC), closes.astimezone(UTC)) for day, opens, closes in rows]
    keep_sessions(name, row[0], row[1], sessions)
    _read_at[name] = time.monotonic()
    return True


def forget_read_sessions() -> None:
    """Make the next `read_sessions` read the table again, and `sessions_between` use the package until then."""
    for name in list(_read_at):
        del _read_at[name]
        keep_sessions(name, None, None, ())
