"""Late ticks see what they would have seen in time: the bars that were closed at each of them."""

from datetime import date, datetime

import pytest

from scheduler.ticker import Ticker
from scheduling import NEW_YORK, Add, Clock, end_runs, plan_from
from streamworkers.database import Connection
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.timeframes import TIMEFRAMES


def _new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("timeframe", "newest"),
    [
        ("day", ["2024-07-02 16:00", "2024-07-03 13:00", "2024-07-05 16:00"]),  # an early close, a holiday
        ("week", ["2024-06-28 16:00", "2024-06-28 16:00", "2024-07-05 16:00"]),
        ("month", ["2024-06-28 16:00"] * 3),
    ],
)
def test_each_late_tick_has_the_as_of_of_its_moment(
    timeframe: str, newest: list[str], ticker: Ticker, add: Add, connection: Connection, clock: Clock
) -> None:
    load_rows(connection, TIMEFRAMES["day"], generate_bars(2, 40, 7, date(2024, 7, 12)))
    clock.now = _new_york("2024-07-02 12:00")
    fields = {"job": "indicators", "target": {"symbols": ["SYN001", "SYN002"]}, "timeframe": timeframe}
    add(cron="10 18 * * 1-5", calendar="XNYS", catch_up="all", misfire_grace_seconds=60, max_instances=10, **fields)
    plan_from(connection, clock.now, "job")
    clock.now = _new_york("2024-07-08 09:00")
    ticker.run_once()
    end_runs(connection)
    rows = connection.execute("SELECT scheduled_for, as_of FROM runs ORDER BY scheduled_for").fetchall()
    assert [tick for tick, _ in rows] == [_new_york(f"2024-07-{day} 18:10") for day in ("02", "03", "05")]
    assert [as_of for _, as_of in rows] == [_new_york(moment) for moment in newest]
