"""The table of exchange sessions: filled from the calendar package, read by processes that must not load it.

The package imports pandas, which takes 60 MB in every process that plans a load.
"""

import time
from datetime import UTC, date, datetime, timedelta

import psycopg

from streamworkers.market.calendar.exchange import FIRST_DAY
from streamworkers.market.calendar.sessions import (
    YEARS_AHEAD,
    ExchangeSession,
    Sessions,
    compute_sessions,
    keep_sessions,
)
from streamworkers.market.calendar.windows import Windows, forget_windows, windows_between

FILL_AGAIN_AFTER = timedelta(days=1)
_READ_AGAIN_SECONDS = 86_400.0
_LONGEST_CLOSURE = timedelta(days=31)
_read_at: dict[str, float] = {}


def fill_sessions(connection: psycopg.Connection, name: str, now: datetime | None = None) -> bool:
    """Compute the sessions of a calendar and store them, unless this was done within a day; True if it did.

    The stored range reaches from `FIRST_DAY` to the end of the year `YEARS_AHEAD` years after `now` (aware), as far as
    the package knows the calendar.
    """
    now = now or datetime.now(UTC)
    row = connection.execute("SELECT filled_at FROM exchange_calendars WHERE calendar = %s", (name,)).fetchone()
    if row is not None and now - row[0] < FILL_AGAIN_AFTER:
        return False
    sessions = compute_sessions(name, FIRST_DAY, date(now.year + YEARS_AHEAD, 12, 31))
    # Of some calendars the package knows twenty years only: days before the first session are unknown, not closed.
    is_whole = bool(sessions.days) and sessions.days[0] - FIRST_DAY < _LONGEST_CLOSURE
    first_day = FIRST_DAY if is_whole or not sessions.days else sessions.days[0]
    with connection.transaction():
        # The row of the calendar is locked first, so that two processes that fill it take turns.
        connection.execute(
            "INSERT INTO exchange_calendars AS c (calendar, first_day, last_day, filled_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (calendar) DO UPDATE SET first_day = excluded.first_day, last_day = excluded.last_day,"
            " filled_at = excluded.filled_at",
            (name, first_day, sessions.ends_on, now),
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
    forget_windows()
    _read_at[name] = time.monotonic()
    return True


def read_windows(connection: psycopg.Connection, name: str, first: date, last: date) -> Windows:
    """Return the windows of a calendar for a short range of days: from the table if it has them, else by the package.

    One small statement, for a process that needs a few weeks only.
    """
    rows = connection.execute(
        "SELECT s.day, s.opens_at, s.closes_at FROM exchange_calendars c LEFT JOIN exchange_sessions s"
        " ON s.calendar = c.calendar AND s.day BETWEEN %(first)s AND %(last)s"
        " WHERE c.calendar = %(name)s AND c.first_day <= %(first)s AND c.last_day >= %(last)s ORDER BY s.day",
        {"name": name, "first": first, "last": last},
    ).fetchall()
    if not rows:
        return windows_between(first, last, calendar=name)
    sessions = tuple(
        ExchangeSession(day, opens.astimezone(UTC), closes.astimezone(UTC)) for day, opens, closes in rows if day
    )
    return Windows(Sessions(name, tuple(session.day for session in sessions), sessions, last))


def read_session_days(connection: psycopg.Connection, name: str) -> tuple[date, date, list[date]] | None:
    """Return the first and the last stored day of a calendar, and the days of its sessions; None if none are stored."""
    row = connection.execute(
        "SELECT c.first_day, c.last_day, array(SELECT s.day FROM exchange_sessions s WHERE s.calendar = c.calendar"
        " AND s.day BETWEEN c.first_day AND c.last_day ORDER BY s.day) FROM exchange_calendars c WHERE c.calendar = %s",
        (name,),
        binary=True,
    ).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def forget_read_sessions() -> None:
    """Make the next `read_sessions` read the table again, and `sessions_between` use the package until then."""
    for name in list(_read_at):
        del _read_at[name]
        keep_sessions(name, None, None, ())
    forget_windows()
