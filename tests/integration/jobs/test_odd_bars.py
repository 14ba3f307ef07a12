"""One odd bar decides nothing: a run uses the bars of its symbols' calendars, and those that most of them have."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from consumer import Consumer
from harness import items_of, run_status, start_run
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Origin
from streamworkers.engine.ledger import Run
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.market.bars.as_of import AsOfRule
from streamworkers.market.bars.write import load_rows
from streamworkers.market.calendar.session_table import fill_sessions, forget_read_sessions
from streamworkers.market.calendar.symbol_calendars import (
    list_calendars,
    read_calendar_rules,
    set_calendar,
    unset_calendar,
)
from streamworkers.market.calendar.timeframes import TIMEFRAMES

FRIDAY = date(2024, 6, 28)
CLOSE = datetime(2024, 6, 28, 20, tzinfo=UTC)
SIX = tuple(f"SYN{number:03d}" for number in range(1, 7))


class Pool:
    """Runs the analysis of symbols on real services."""

    def __init__(self, connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> None:
        self.connection, self.streams, self.registry, self.consumer = connection, streams, registry, consumer

    def run(self, *symbols: str, **words: Any) -> Run:
        """Execute a run of the job `indicators` to its end."""
        run = start_run(self.connection, self.streams, self.registry, "indicators", *symbols, **words)
        while self.consumer.work("analysis"):
            pass
        return run

    def stale(self, run: Run) -> dict[str, str]:
        """The stale symbols of a run, with their newest bars."""
        return dict(ledger_reports.list_items_with_result(self.connection, run, "stale", 100))

    def newest(self) -> dict[str, date]:
        """The day of the newest indicator of each symbol."""
        rows = self.connection.execute("SELECT symbol, max(bar_time) FROM indicator_results GROUP BY 1").fetchall()
        return {symbol: (moment - timedelta(hours=4)).date() for symbol, moment in rows}

    def copy_bar(self, symbol: str, day: date, table: str = "ohlcv_daily") -> None:
        """Give a symbol one more bar, a copy of Friday's."""
        self.connection.execute(
            f"INSERT INTO {table} (symbol, date, open, high, low, close, volume)"
            f" SELECT symbol, %s, open, high, low, close, volume FROM {table} WHERE symbol = %s AND date = %s",
            (day, symbol, FRIDAY),
        )


@pytest.fixture
def pool(connection: Connection, streams: Streams, registry: Registry, consumer: Consumer) -> Pool:
    """Six symbols with 60 days up to FRIDAY, and three indicators."""
    load_rows(connection, TIMEFRAMES["day"], generate_bars(6, 60, 7, FRIDAY))
    connection.execute("UPDATE indicator_definitions SET enabled = name IN ('sma_20', 'rsi_14', 'returns_1')")
    return Pool(connection, streams, registry, consumer)


@pytest.mark.parametrize(
    ("symbols", "odd"),
    [
        (SIX, FRIDAY + timedelta(days=1)),
        (SIX, FRIDAY + timedelta(days=3)),
        (SIX, date(2026, 2, 3)),
        (SIX, date(2099, 1, 1)),
        (SIX[:2], FRIDAY + timedelta(days=3)),
    ],
)
def test_one_more_bar_of_one_symbol_makes_no_other_stale(symbols: tuple[str, ...], odd: date, pool: Pool) -> None:
    pool.copy_bar(SIX[0], odd)
    run = pool.run(*symbols)
    assert (run_status(pool.connection, run), pool.stale(run)) == ("COMPLETED", {})
    assert run.as_of == CLOSE
    assert pool.newest() == dict.fromkeys(symbols, FRIDAY)


def test_a_day_without_a_session_that_most_symbols_have_is_not_used(pool: Pool) -> None:
    for symbol in SIX[:4]:
        pool.copy_bar(symbol, FRIDAY + timedelta(days=1))
    run = pool.run(*SIX)
    assert (run.as_of, pool.stale(run)) == (CLOSE, {})


def test_symbols_that_left_the_exchange_do_not_hold_the_others(pool: Pool) -> None:
    for number, symbol in enumerate(SIX[:4], 1):
        pool.connection.execute(
            "DELETE FROM ohlcv_daily WHERE symbol = %s AND date > %s", (symbol, FRIDAY - timedelta(days=15 * number))
        )
    run = pool.run(*SIX)
    assert (run.as_of, set(pool.stale(run))) == (CLOSE, set(SIX[:4]))


def test_a_named_moment_and_a_tick_mean_the_day_that_was_closed_then(pool: Pool) -> None:
    later = datetime(2024, 7, 2, 21, tzinfo=UTC)
    close = datetime(2024, 7, 2, 20, tzinfo=UTC)
    pool.copy_bar(SIX[0], date(2024, 7, 2))
    named = pool.run(*SIX, as_of=later)
    tick = pool.run(*SIX, origin=Origin("schedule", None, "nightly", later))
    assert named.as_of == tick.as_of == close
    assert pool.stale(named) == pool.stale(tick) == dict.fromkeys(SIX[1:], FRIDAY.isoformat())
    by_hand = pool.run(*SIX, origin=Origin("manual", None, "nightly", later))
    assert (by_hand.as_of, pool.stale(by_hand)) == (CLOSE, {})


def test_minutes_and_hours_are_those_that_most_symbols_have(pool: Pool) -> None:
    start = datetime(2024, 6, 28, 13, 30, tzinfo=UTC)
    for symbol in SIX:
        for number in range(30 if symbol == SIX[0] else 28):
            pool.connection.execute(
                "INSERT INTO ohlcv_hourly VALUES (%s, %s, 10, 11, 9, 10.5, 100)",
                (symbol, start - timedelta(hours=30 - number)),
            )
    run = pool.run(*SIX, timeframe="hour", as_of=start)
    assert pool.stale(run) == {}
    assert run.as_of == start - timedelta(hours=2)  # the close of the newest bar of most
    early = pool.run(*SIX, timeframe="hour", as_of=start - timedelta(hours=4, seconds=1))
    assert early.as_of == start - timedelta(hours=5)


def test_hours_of_extended_trading_are_closed_after_an_hour(pool: Pool, connection: Connection) -> None:
    rule = AsOfRule(TIMEFRAMES["hour"], read_calendar_rules(connection, "XNYS"))
    wide = AsOfRule(TIMEFRAMES["hour"], rule.calendars, has_extended_hours=True)
    half_past = datetime(2024, 6, 28, 19, 30, tzinfo=UTC)
    assert rule.find_close_of(connection, "A", half_past) == CLOSE
    assert wide.find_close_of(connection, "A", half_past) == CLOSE + timedelta(minutes=30)
    connection.execute(
        "INSERT INTO series_sources (symbol, timeframe, provider, adjusted, hours, hour_anchor, adjusted_on, run_id,"
        " fetched_at) VALUES (%s, 'hour', 'csv', true, 'extended', 'open', '2024-06-28', 1, now())",
        (SIX[0],),
    )
    for number in range(30):
        moment = half_past - timedelta(hours=number)
        connection.execute("INSERT INTO ohlcv_hourly VALUES (%s, %s, 10, 11, 9, 10.5, 100)", (SIX[0], moment))
    assert pool.run(SIX[0], timeframe="hour", as_of=CLOSE).as_of == half_past
    assert pool.run(SIX[0], timeframe="hour", as_of=CLOSE + timedelta(minutes=30)).as_of == half_past + timedelta(
        hours=1
    )


def test_stocks_and_crypto_share_a_run_each_by_its_calendar(pool: Pool) -> None:
    connection = pool.connection
    set_calendar(connection, ["SYN006", "SYN00*"], "24/7")
    unset_calendar(connection, ["SYN00*"])
    fill_sessions(connection, "24/7")
    for days in (1, 2, 3):
        pool.copy_bar("SYN006", FRIDAY + timedelta(days=days))
    sunday = datetime(2024, 6, 30, 16, tzinfo=UTC)
    run = pool.run(*SIX, as_of=sunday)
    assert (run_status(connection, run), pool.stale(run)) == ("COMPLETED", {})
    assert run.as_of == datetime(2024, 6, 30, tzinfo=UTC)  # the end of Saturday
    assert pool.newest() == dict.fromkeys(SIX[:5], FRIDAY) | {"SYN006": FRIDAY + timedelta(days=1)}
    monday = pool.run(*SIX, as_of=datetime(2024, 7, 1, 20, tzinfo=UTC))
    assert pool.stale(monday) == dict.fromkeys(SIX[:5], FRIDAY.isoformat())
    assert pool.newest()["SYN006"] == FRIDAY + timedelta(days=2)
    assert items_of(connection, monday)["SYN006"][0] == "completed"


def test_a_run_without_bars_fails_each_symbol_by_the_day_that_it_lacks(pool: Pool) -> None:
    run = pool.run("NOPE", as_of=datetime(2024, 7, 4, 20, tzinfo=UTC))
    assert items_of(pool.connection, run)["NOPE"][2] == "no day bars of NOPE up to 2024-07-03"
    hours = pool.run("NOPE", timeframe="hour", as_of=datetime(2024, 7, 2, 20, tzinfo=UTC))
    assert hours.as_of == datetime(2024, 7, 2, 20, tzinfo=UTC)
    before = pool.run(SIX[0], as_of=datetime(1999, 1, 4, 21, tzinfo=UTC))
    assert items_of(pool.connection, before)[SIX[0]][2] == f"no day bars of {SIX[0]} up to 1999-01-04"


def test_a_run_that_an_earlier_release_prepared_is_executed_by_its_rule(pool: Pool) -> None:
    run = start_run(pool.connection, pool.streams, pool.registry, "indicators", *SIX)
    # Its as-of is the start of the newest bar, and its parameters name no bars.
    pool.connection.execute(
        "UPDATE runs SET as_of = '2024-06-28 00:00 America/New_York',"
        " parameters = parameters - 'newest_bars' - 'calendars' WHERE id = %s",
        (run.id,),
    )
    while pool.consumer.work("analysis"):
        pass
    assert (pool.stale(run), pool.newest()) == ({}, dict.fromkeys(SIX, FRIDAY))


@pytest.mark.parametrize(
    ("as_of", "message"),
    [
        (datetime(2090, 1, 1, tzinfo=UTC), r"as-of 2090-01-01T00:00:00\+00:00 is in the future: leave it out, and the"),
        (datetime(1880, 1, 1, tzinfo=UTC), r"as-of 1880-01-01T00:00:00\+00:00 is before 1900: no calendar reaches"),
        (datetime(2024, 6, 28), "as-of 2024-06-28 00:00:00 is not a moment: give a datetime with its zone"),  # noqa: DTZ001
        (date(2024, 6, 28), "as-of 2024-06-28 is not a moment: give a datetime with its zone"),
    ],
)
def test_an_as_of_that_is_no_moment_of_the_past_is_rejected(as_of: Any, message: str, pool: Pool) -> None:
    with pytest.raises(BadInputError, match=message):
        pool.run(*SIX, as_of=as_of)


def test_a_clock_that_is_a_little_ahead_sees_no_bar_before_it_is_closed(pool: Pool) -> None:
    run = pool.run(*SIX, as_of=datetime.now(UTC) + timedelta(seconds=20))
    assert run.as_of is not None
    assert run.as_of <= datetime.now(UTC)


def test_calendar_rules_are_stored_listed_and_removed(connection: Connection) -> None:
    set_calendar(connection, ["X:*", "X:*", "*.L"], "24/7")
    set_calendar(connection, ["*.L"], "XLON")
    assert read_calendar_rules(connection, "XNYS").patterns == {"*": "XNYS", "X:*": "24/7", "*.L": "XLON"}
    assert list_calendars(connection, "XTKS") == ["XNYS", "XTKS", "XLON", "24/7"]
    with pytest.raises(UnknownNameError, match=r"no calendar is named 'XNSY'; did you mean 'XNYS'"):
        set_calendar(connection, ["A"], "XNSY")
    with pytest.raises(UnknownNameError, match=r"no calendar rule is named 'Y:\*'"):
        unset_calendar(connection, ["X:*", "Y:*"])
    unset_calendar(connection, ["X:*"])
    assert set(read_calendar_rules(connection, "XNYS").patterns) == {"*", "*.L"}


def test_sessions_come_from_the_table_where_it_has_them(connection: Connection) -> None:
    forget_read_sessions()
    fill_sessions(connection, "XNYS")
    rule = AsOfRule(TIMEFRAMES["day"], read_calendar_rules(connection, "XNYS"))
    connection.execute(
        "UPDATE exchange_sessions SET closes_at = closes_at - interval '1 hour' WHERE day = %s", (FRIDAY,)
    )
    assert rule.find_close_of(connection, "A", FRIDAY) == CLOSE - timedelta(hours=1)
    connection.execute("UPDATE exchange_calendars SET last_day = '2024-07-01'")
    assert rule.find_close_of(connection, "A", FRIDAY) == CLOSE  # the package, for a range that the table lacks


@pytest.mark.parametrize(
    ("stale", "words", "status"),
    [
        (3, {}, "COMPLETED"),  # half of six
        (4, {}, "COMPLETED_WITH_ERRORS"),
        (6, {}, "COMPLETED_WITH_ERRORS"),
        (2, {"max_stale": 0.3}, "COMPLETED_WITH_ERRORS"),
        (6, {"max_stale": 1}, "COMPLETED"),
        (1, {"max_stale": 0}, "COMPLETED_WITH_ERRORS"),
    ],
)
def test_a_run_most_of_whose_symbols_are_stale_is_no_success(
    stale: int, words: dict[str, float], status: str, pool: Pool
) -> None:
    symbols = list(SIX[:stale])
    pool.connection.execute("DELETE FROM ohlcv_daily WHERE symbol = ANY(%s) AND date > '2024-06-20'", (symbols,))
    run = pool.run(*SIX, as_of=CLOSE, parameters=words)
    report = ledger_reports.read_run(pool.connection, run.id)
    assert report is not None
    assert (report["status"], report["stale_count"], report["completed_count"]) == (status, stale, 6)
    assert report["max_stale"] == words.get("max_stale", 0.5)
    assert len(pool.newest()) == 6 - stale
    found = ledger_reports.list_stale_runs(pool.connection, CLOSE, 10)
    events = pool.connection.execute("SELECT payload FROM outbox WHERE channel <> 'streamworkers:notify'").fetchall()
    if status == "COMPLETED":
        assert (found, events) == ([], [])
        return
    assert [(row["run_id"], row["stale_count"], row["item_count"]) for row in found] == [(run.id, stale, 6)]
    ((payload,),) = events
    assert (payload["kind"], payload["status"], payload["failed"], payload["stale"]) == ("run_failed", status, 0, stale)
    load_rows(pool.connection, TIMEFRAMES["day"], generate_bars(6, 60, 7, FRIDAY))
    again = pool.run(*SIX, as_of=CLOSE, parameters=words)
    assert run_status(pool.connection, again) == "COMPLETED"
    assert ledger_reports.list_stale_runs(pool.connection, CLOSE, 10) == []


def test_the_limit_of_stale_symbols_is_a_setting(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.connection.execute("DELETE FROM ohlcv_daily WHERE symbol = %s AND date > '2024-06-20'", (SIX[0],))
    assert run_status(pool.connection, pool.run(*SIX)) == "COMPLETED"
    monkeypatch.setenv("STREAMWORKERS_MAX_STALE_SHARE", "0.1")
    assert run_status(pool.connection, pool.run(*SIX)) == "COMPLETED_WITH_ERRORS"


def test_a_reopened_run_counts_its_stale_symbols_again(pool: Pool) -> None:
    pool.connection.execute("DELETE FROM ohlcv_daily WHERE symbol = ANY(%s) AND date > '2024-06-20'", (list(SIX[1:]),))
    run = pool.run(*SIX, "NOPE", as_of=CLOSE)
    assert ledger.reopen_items(pool.connection, run, ["failed"], None) == [6]
    row = pool.connection.execute("SELECT status, stale_count FROM runs WHERE id = %s", (run.id,)).fetchone()
    assert row == ("RUNNING", None)


def test_the_parameter_of_another_job_that_has_its_name_limits_nothing(
    connection: Connection, streams: Streams, registry: Registry
) -> None:
    run = start_run(connection, streams, registry, "ledger_entry", "A")
    connection.execute('UPDATE runs SET parameters = \'{"max_stale": "often"}\' WHERE id = %s', (run.id,))
    connection.execute("UPDATE run_items SET status = 'completed', result = '{\"stale\": 1}'")
    changed = ledger.load_run(connection, run.id)
    assert changed is not None
    assert ledger.close_runs(connection, [changed])[0] == {run.id: "COMPLETED"}
    report = ledger_reports.read_run(connection, run.id)
    assert report is not None
    assert (report["stale_count"], report["max_stale"]) == (None, None)
    assert ledger_reports.list_stale_runs(connection, CLOSE, 10) == []
