"""Exchange sessions in a table: filled once a day from the calendar package, read without it."""

import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from harness import running_supervisor, start_run, wait_for_end
from loading import NOW, counts, loader_environment
from scheduler.calendars import SessionFiller
from streamworkers.config import Settings
from streamworkers.database import Connection, open_pool
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.market.calendar import sessions
from streamworkers.market.calendar.session_table import fill_sessions, forget_read_sessions, read_sessions
from streamworkers.market.calendar.sessions import compute_sessions, sessions_around, sessions_between
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.calendar.windows import windows_between
from streamworkers_fakes.massive import FakeMassive, running_fake_massive

MOMENT = datetime(2025, 11, 26, 12, 0, tzinfo=UTC)
PACKAGES = ("pandas", "exchange_calendars")
SPANS = [
    (date(1990, 1, 1), date(1990, 12, 31)),
    (date(2001, 9, 1), date(2001, 9, 30)),  # with days on which the exchange stayed closed
    (date(2025, 11, 27), date(2025, 11, 28)),  # Thanksgiving, and an early close
    (date(2025, 11, 29), date(2025, 11, 30)),  # a weekend
]


@pytest.fixture(autouse=True)
def _unread() -> Iterator[None]:
    forget_read_sessions()
    yield
    forget_read_sessions()


def test_stored_sessions_are_those_of_the_package_and_are_read_without_it(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [compute_sessions("XNYS", *span) for span in SPANS]
    assert not read_sessions(connection, "XNYS")
    assert fill_sessions(connection, "XNYS", MOMENT)
    for name in PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    sessions._compute.cache_clear()
    with pytest.raises(ImportError):
        sessions_between("XNYS", *SPANS[0])
    assert read_sessions(connection, "XNYS")
    assert [sessions_between("XNYS", *span) for span in SPANS] == expected
    assert sessions_between("XNYS", date(2027, 1, 1), date(2027, 12, 31)).ends_on == date(2027, 12, 31)
    for beyond in ((date(1989, 12, 31), date(1990, 2, 1)), (date(2027, 1, 1), date(2028, 1, 1))):
        with pytest.raises(ImportError):  # the table lacks these days, so the package is needed
            sessions_between("XNYS", *beyond)


def test_sessions_are_filled_once_a_day_and_corrected_then(connection: Connection) -> None:
    assert fill_sessions(connection, "XNYS", MOMENT)
    assert not fill_sessions(connection, "XNYS", MOMENT + timedelta(hours=23))
    whole = connection.execute("SELECT count(*), min(day), max(day) FROM exchange_sessions").fetchone()
    connection.execute("DELETE FROM exchange_sessions WHERE day >= '2025-11-01'")
    connection.execute(
        "INSERT INTO exchange_sessions VALUES ('XNYS', '2025-11-27', '2025-11-27 14:30', '2025-11-27 21:00')"
    )
    assert fill_sessions(connection, "XNYS", MOMENT + timedelta(days=1))
    assert connection.execute("SELECT count(*), min(day), max(day) FROM exchange_sessions").fetchone() == whole
    assert connection.execute("SELECT FROM exchange_sessions WHERE day = '2025-11-27'").fetchone() is None


def test_a_day_on_which_the_exchange_stays_closed_is_known_to_a_process_that_reads_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that was made of the sessions before is kept."""
    week = date(2025, 11, 24), date(2025, 11, 28)  # with Thanksgiving
    monkeypatch.setattr("streamworkers.market.calendar.session_table._READ_AGAIN_SECONDS", 0.0)
    fill_sessions(connection, "XNYS", MOMENT)
    for count, closed in ((4, "2025-11-26"), (3, "2025-11-28")):
        assert read_sessions(connection, "XNYS")
        assert len(windows_between(*week).expected(TIMEFRAMES["day"], *week)) == count
        assert len([day for day in sessions_around("XNYS", MOMENT).days if week[0] <= day <= week[1]]) == count
        connection.execute("DELETE FROM exchange_sessions WHERE day = %s", (closed,))


def test_a_scheduler_fills_the_table_on_its_first_step(connection: Connection, settings: Settings) -> None:
    assert settings.database_url is not None
    with open_pool(settings.database_url.get_secret_value(), application="test", max_size=1) as pool:
        filler = SessionFiller(pool)
        assert filler.run_once() is None
        first = connection.execute("SELECT calendar, first_day, filled_at FROM exchange_calendars").fetchall()
        assert [row[:2] for row in first] == [("XNYS", date(1990, 1, 1))]
        filler.run_once()
    assert connection.execute("SELECT calendar, first_day, filled_at FROM exchange_calendars").fetchall() == first


def test_a_session_that_closes_before_it_opens_is_rejected(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO exchange_sessions VALUES ('XNYS', '2025-11-27', now(), now())")


def test_worker_processes_load_bars_of_all_timeframes_without_the_calendar_package(
    connection: Connection, streams: Streams, registry: Registry, environment: dict[str, str], tmp_path: Path
) -> None:
    fill_sessions(connection, "XNYS")
    # Python imports this module at the start of every process; an import of a package that is None raises ImportError.
    lines = ["import sys", *(f"sys.modules[{name!r}] = None" for name in PACKAGES)]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    environment["PYTHONPATH"] = f"{tmp_path}:{environment['PYTHONPATH']}"
    with running_fake_massive(FakeMassive(now=NOW)) as server:
        environment |= loader_environment(server)
        with running_supervisor(environment, tmp_path, "--processes", "1", "--queue", "load"):
            run = start_run(
                connection,
                streams,
                registry,
                "load_ohlcv",
                "AAPL",
                timeframes=("1min", "hour", "day", "week", "month"),
                as_of=NOW,
                parameters={"first": "2025-10-27", "last": "2025-10-31"},
            )
            assert wait_for_end(connection, run) == "COMPLETED"
    assert counts(connection) == {
        "1min": {"AAPL": 5 * 390},
        "hour": {"AAPL": 5 * 7},
        "day": {"AAPL": 5},
        "week": {"AAPL": 1},
        "month": {"AAPL": 1},
    }
