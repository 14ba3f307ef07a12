"""A day of the standard schedules on real bars, by a clock that the test turns, worked through by a real consumer."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from consumer import Consumer
from scheduler.ticker import Ticker
from scheduling import NEW_YORK, Clock, plan_from
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_import import import_bars
from streamworkers.market.universes.csv_import import import_universes
from streamworkers.schedules import reports as history
from streamworkers.schedules import store
from streamworkers.schedules.defaults import default_schedules

FRIDAY = datetime(2021, 5, 14, 17, 0, tzinfo=NEW_YORK)
pytestmark = pytest.mark.market_data


@pytest.fixture
def day(market_data: Path, connection: Connection, ticker: Ticker, clock: Clock) -> Callable[[int, int], None]:
    """Real bars, the standard schedules, five in the afternoon; a function turns the clock to an hour and minute."""
    import_bars(connection, [market_data / "sp500_daily_2016_2021.csv.gz"], TIMEFRAMES["day"])
    import_universes(connection, market_data / "universes.csv")
    clock.now = FRIDAY
    for definition in default_schedules(Settings()):
        store.save_schedule(connection, definition)
        plan_from(connection, clock.now, definition.name)
    ticker.run_once()

    def turn_to(hour: int, minute: int) -> None:
        clock.now = clock.now.replace(hour=hour, minute=minute)
        ticker.run_once()

    return turn_to


def _run_of(connection: Connection, name: str) -> tuple[int, str, datetime, int, int | None] | None:
    row: tuple[int, str, datetime, int, int | None] | None = connection.execute(
        "SELECT id, status, as_of, item_count, completed_count FROM runs WHERE schedule = %s", (name,)
    ).fetchone()
    return row


@pytest.mark.timeout(300)
@pytest.mark.parametrize("dead", [0, 1])
def test_patterns_start_when_the_indicators_of_the_day_are_complete(
    dead: int,
    day: Callable[[int, int], None],
    connection: Connection,
    ticker: Ticker,
    consumer: Consumer,
) -> None:
    day(18, 9)
    assert _run_of(connection, "daily_indicator_calculation") is None
    day(18, 10)
    indicators = _run_of(connection, "daily_indicator_calculation")
    assert indicators is not None
    assert indicators[3] == 470
    assert indicators[2].astimezone(NEW_YORK).date() == FRIDAY.date()
    day(18, 20)
    assert _run_of(connection, "daily_pattern_detection") is None
    consumer.work("analysis", 100)
    day(18, 21)
    assert _run_of(connection, "daily_pattern_detection") is None
    if dead:
        connection.execute("UPDATE run_items SET status = 'failed', error = 'made to' WHERE symbol = 'WMT'")
    consumer.work_until_empty("analysis")
    ticker.run_once()
    indicators, patterns = (
        _run_of(connection, f"daily_{name}") for name in ("indicator_calculation", "pattern_detection")
    )
    assert indicators is not None
    assert patterns is not None
    assert indicators[1] == ("COMPLETED_WITH_ERRORS" if dead else "COMPLETED")
    (tick,) = history.ticks_of(connection, store.require_schedule(connection, "daily_pattern_detection").id, 10)
    assert tick["detail"]["missing"] == ["WMT"] * dead
    assert tick["detail"]["coverage"] == round((470 - dead) / 470, 6)
    consumer.work_until_empty("analysis")
    patterns = _run_of(connection, "daily_pattern_detection")
    assert patterns is not None
    assert (patterns[1], patterns[4]) == ("COMPLETED", 470)
    row = connection.execute("SELECT count(*) FROM outbox WHERE channel = 'tickstock.events.patterns'").fetchone()
    found = connection.execute("SELECT count(*) FROM daily_patterns WHERE run_id = %s", (patterns[0],)).fetchone()
    assert row == found
    assert found is not None
    assert found[0] > 100
