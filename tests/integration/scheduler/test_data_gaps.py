"""People are notified of missing bars: once for each gap, one message for all that are found together."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from psycopg_pool import ConnectionPool

from alert_stage import AlertStage, before_day, session_days
from consumer import Consumer
from scheduler.data_gaps import DataGaps, find_recent_gap
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger.outbox import take_notify_events
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import start_of
from streamworkers.notifications.notification import Notification, parse_notification
from streamworkers.notifications.wording import write_content

Pool = ConnectionPool[Connection]
DAY, HOUR = TIMEFRAMES["day"], TIMEFRAMES["hour"]


@pytest.fixture
def stage(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> AlertStage:
    return AlertStage(connection, streams, registry, consumer)


@pytest.fixture
def service(pool: Pool) -> DataGaps:
    return DataGaps(pool, "XNYS", "clock")


def noticed(connection: Connection) -> list[Notification]:
    """What people are notified of since the last call."""
    return [parse_notification(*event) for event in take_notify_events(connection, 100)]


def test_a_bad_night_of_many_symbols_is_one_notification_when_it_is_due(
    stage: AlertStage, service: DataGaps, connection: Connection
) -> None:
    names = [f"S{number:02}" for number in range(25)]
    for name in names:
        stage.load([100, 100], symbol=name)
    stage.load([100, 100, 100, 100], symbol="FINE")
    service.look(connection, before_day(3))
    assert noticed(connection) == []
    for hours in (0, 1, 24):
        service.look(connection, before_day(4) + timedelta(hours=hours))
    (notice,) = noticed(connection)
    assert (notice.type, notice.user_id, notice.priority) == ("data_gap", "local", "high")
    day = session_days()[2].isoformat()
    content = write_content(notice)
    assert content.title == "Bars are missing"
    assert content.lines == (
        "25 symbols: " + ", ".join(names[:20]) + ", …",
        f"25 bars (day), from {day} to {day}",
        f"Look: streamworkers bars gaps S00 --timeframe day --from {day}",
    )


def test_a_gap_is_news_once_until_it_was_filled(stage: AlertStage, service: DataGaps, connection: Connection) -> None:
    def look() -> int:
        service.look(connection, before_day(5))
        return len(noticed(connection))

    stage.load([100], 0)
    stage.load([100, 100, 100], 2)
    assert (look(), look()) == (1, 0)
    assert fetch_value(connection, "SELECT bars FROM data_gaps WHERE symbol = 'AAA'") == 1
    stage.load([100], 1)
    assert look() == 0
    assert fetch_value(connection, "SELECT count(*) FROM data_gaps") == 0
    connection.execute("DELETE FROM ohlcv_daily WHERE date = %s", (session_days()[1],))
    assert look() == 1


def test_what_nobody_has_or_loads_or_had_before_is_no_gap(
    stage: AlertStage, service: DataGaps, connection: Connection
) -> None:
    """A series that began lately, one that was given up long ago, and a day that the provider has not."""
    stage.load([100, 100, 100], 2, "LATE")
    stage.load([100], 0, "OVER")
    stage.load([100], 0, "THIN")
    stage.load([100, 100, 100], 2, "THIN")
    missing = datetime.combine(session_days()[1], datetime.min.time(), UTC) + timedelta(hours=4)
    connection.execute(
        "INSERT INTO absent_bars (timeframe, symbol, first_bar, last_bar, bars, provider)"
        " VALUES ('day', 'THIN', %s, %s, 1, 'x')",
        (missing, missing),
    )
    connection.execute("UPDATE series_state SET complete_through = '2025-08-01' WHERE symbol = 'OVER'")
    service.look(connection, before_day(5))
    assert noticed(connection) == []


def test_a_gap_is_not_recorded_without_its_notice_and_two_schedulers_send_one(
    stage: AlertStage, service: DataGaps, connection: Connection, pool: Pool
) -> None:
    stage.load([100], 0)
    stage.load([100, 100, 100], 2)
    with connection.transaction(force_rollback=True):
        service.look(connection, before_day(5))
        assert len(noticed(connection)) == 1
    assert fetch_value(connection, "SELECT count(*) FROM data_gaps") == 0
    for each in (service, DataGaps(pool, "XNYS", "clock")):
        each.look(connection, before_day(5))
    assert len(noticed(connection)) == 1


def test_some_hours_may_be_missing_and_no_day() -> None:
    day = start_of(datetime(2026, 1, 5, 15, tzinfo=UTC))
    expected = day + 3_600_000 * np.arange(40)
    assert find_recent_gap(HOUR, expected, np.delete(expected, [3, 9])) is None
    gap = find_recent_gap(HOUR, expected, np.delete(expected, [3, 9, 12]))
    assert gap is not None
    assert (gap.first, gap.bars) == (datetime(2026, 1, 5, 18, tzinfo=UTC), 3)
    days = np.arange(20_000, 20_010)
    assert find_recent_gap(DAY, days, np.delete(days, [4])) is not None
    assert find_recent_gap(DAY, days, days[:0]) is None
