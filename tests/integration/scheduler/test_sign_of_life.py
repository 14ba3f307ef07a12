"""A sign of life comes once a day after its time, by the way of all messages, if it is asked for."""

from datetime import datetime

import pytest
from psycopg_pool import ConnectionPool

from scheduler.sign_of_life import SignOfLife
from streamworkers.database import Connection
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE


def test_one_comes_each_day_after_its_time(connection: Connection, pool: "ConnectionPool[Connection]") -> None:
    service = SignOfLife(pool, "8:00", "local")
    for day, hour in ((5, 7), (5, 8), (5, 23), (6, 7), (6, 9)):
        service.look(connection, datetime(2026, 1, day, hour, 30, tzinfo=EXCHANGE_ZONE))
    rows = connection.execute("SELECT type, dedup_key, data FROM notifications ORDER BY 2").fetchall()
    nothing = {"sent": 0, "dead": 0}
    assert rows == [("watchdog", "watchdog:2026-01-05", nothing), ("watchdog", "watchdog:2026-01-06", nothing)]


@pytest.mark.parametrize(("at", "user"), [(None, "local"), ("00:00", "nobody")])
def test_none_comes_unasked_or_for_an_unknown_user(
    at: str | None, user: str, connection: Connection, pool: "ConnectionPool[Connection]"
) -> None:
    SignOfLife(pool, at, user).run_once()
    assert connection.execute("SELECT count(*) FROM notifications").fetchone() == (0,)
