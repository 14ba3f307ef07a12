"""Bars get from a provider into their tables: what is asked for, exactly once, and every item says how it ended."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from consumer import Consumer
from harness import run_status, start_run
from loading import NEW_YORK, NOW, THIRTY, Loader, bars_of_days, counts, later, massive, results, stored_bars
from patience import patient
from streamworkers.database import Connection, connect
from streamworkers.engine.outcome import Completed, Item
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.jobs.load_ohlcv import LoadOhlcv
from streamworkers.loading.provenance import SeriesKind, SeriesSource, find_conflicts, record_sources
from streamworkers.loading.spool import BarSpool
from streamworkers.loading.store import BarsToSave
from streamworkers.market.calendar.sessions import sessions_between
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers_fakes.massive import FakeMassive, RunningFakeMassive
from streamworkers_fakes.massive.splits import FakeSplit

_BACKWARDS = "{'first': '2025-11-02', 'last': '2024-11-01'}"
_OF_THE_JOB = "of job 'load_ohlcv':"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningFakeMassive]:
    """A Massive that behaves, until it is told otherwise."""
    with massive(monkeypatch) as running:
        yield running


@pytest.fixture
def loader(consumer: Consumer, connection: Connection, streams: Streams, registry: Registry) -> Iterator[Loader]:
    """A loader on the test's services."""
    yield Loader(consumer, connection, streams, registry)
    job: Any = registry["load_ohlcv"]
    job.close()


def _sessions(first: str, last: str) -> list[date]:
    return list(sessions_between("XNYS", date.fromisoformat(first), date.fromisoformat(last)).days)


def test_a_symbol_of_a_week_has_exactly_the_sessions_and_nothing_elsewhere(
    server: RunningFakeMassive, loader: Loader
) -> None:
    run = loader.load("AAPL", years=0.02)
    assert run_status(loader.connection, run) == "COMPLETED"
    days = [row[1] for row in stored_bars(loader.connection, "day")]
    assert days == _sessions("2025-11-19", "2025-11-25")
    assert counts(loader.connection) == {"day": {"AAPL": 5}}
    truth = server.market.days("AAPL", date(2025, 11, 19), date(2025, 11, 25), adjusted=True)
    assert [row[2:6] for row in stored_bars(loader.connection, "day")] == list(
        zip(truth.open, truth.high, truth.low, truth.close, strict=True)
    )


@pytest.mark.usefixtures("server")
def test_a_load_as_of_a_close_of_the_past_has_its_bar_and_none_that_was_open(loader: Loader) -> None:
    close = datetime(2025, 11, 24, 16, tzinfo=NEW_YORK)
    for now, last in ((close - timedelta(milliseconds=1), date(2025, 11, 21)), (close, date(2025, 11, 24))):
        run = loader.load("AAPL", now=now, years=0.02)
        assert run_status(loader.connection, run) == "COMPLETED"
        assert stored_bars(loader.connection, "day")[-1][1] == last


def test_three_symbols_in_three_timeframes_have_what_the_calendar_says(
    server: RunningFakeMassive, loader: Loader
) -> None:
    symbols = ("AAPL", "IBM", "MSFT")
    run = loader.load(*symbols, timeframes=("hour", "day", "week"), first="2025-11-24", last="2025-11-25")
    assert [error for _, _, error in results(loader.connection, run).values() if error] == []
    # Open windows are not stored: this week has not ended.
    assert counts(loader.connection) == {"hour": dict.fromkeys(symbols, 14), "day": dict.fromkeys(symbols, 2)}
    run = loader.load(*symbols, timeframes=("hour", "day", "week"), first="2025-09-01", last="2025-09-12")
    assert [error for _, _, error in results(loader.connection, run).values() if error] == []
    assert run_status(loader.connection, run) == "COMPLETED"
    assert [row[1] for row in stored_bars(loader.connection, "week") if row[0] == "IBM"] == [
        date(2025, 9, 1),  # Labor Day: the week's Monday all the same
        date(2025, 9, 8),
    ]
    assert counts(loader.connection)["hour"]["IBM"] == 14 + 7 * len(_sessions("2025-09-01", "2025-09-12"))


def test_thirty_symbols_in_five_timeframes_of_a_day_are_all_there(server: RunningFakeMassive, loader: Loader) -> None:
    frames = ("1min", "hour", "day", "week", "month")
    run = loader.load(*THIRTY, timeframes=frames, first="2025-10-31", last="2025-10-31")
    assert run_status(loader.connection, run) == "COMPLETED"
    expected = {"1min": 390, "hour": 7, "day": 1, "week": 1, "month": 1}
    assert counts(loader.connection) == {name: dict.fromkeys(THIRTY, expected[name]) for name in frames}


def test_a_half_day_has_210_minutes_and_hours_may_begin_at_the_opening(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    now = datetime(2025, 12, 1, 18, 0, tzinfo=NEW_YORK)
    with massive(monkeypatch, FakeMassive(now=now)):
        words: dict[str, Any] = {"first": "2025-11-28", "last": "2025-11-28", "now": now}
        loader.load("IBM", timeframes=("1min", "hour"), hour_anchor="open", **words)
    assert counts(loader.connection) == {"1min": {"IBM": 210}, "hour": {"IBM": 4}}
    hours = [row[1].astimezone(NEW_YORK).strftime("%H:%M") for row in stored_bars(loader.connection, "hour")]
    assert hours == ["09:30", "10:30", "11:30", "12:30"]


def test_made_of_narrower_bars_or_asked_for_wide_bars_are_the_same(server: RunningFakeMassive, loader: Loader) -> None:
    frames = ("1min", "hour", "day", "week", "month")
    words: dict[str, Any] = {"first": "2025-08-01", "last": "2025-10-31", "hours": "extended"}
    loader.load("IBM", timeframes=frames, derive=True, **words)
    derived = [stored_bars(loader.connection, name) for name in ("hour", "week", "month")]
    assert len(server.calls) == 2
    loader.connection.execute("TRUNCATE ohlcv_hourly, ohlcv_weekly, ohlcv_monthly")
    server.forget_calls()
    loader.load("IBM", timeframes=("hour", "week", "month"), derive=False, **words)
    assert len(server.calls) == 3
    assert [stored_bars(loader.connection, name) for name in ("hour", "week", "month")] == derived
    assert all(derived)


def test_without_a_range_a_load_goes_on_where_the_last_one_ended(server: RunningFakeMassive, loader: Loader) -> None:
    loader.load("IBM", first="2025-11-03", last="2025-11-20")
    server.forget_calls()
    run = loader.load("IBM")
    assert [call.path.split("?")[0].split("/")[-2:] for call in server.calls] == [["2025-11-20", "2025-11-25"]]
    assert results(loader.connection, run)["IBM", "day"] == (
        "completed",
        {"bars": 4, "first": "2025-11-20", "last": "2025-11-25"},
        None,
    )
    assert [row[1] for row in stored_bars(loader.connection, "day")] == _sessions("2025-11-03", "2025-11-25")
    server.forget_calls()
    run = loader.load("IBM")
    assert results(loader.connection, run)["IBM", "day"][1] == {
        "bars": 0,
        "why": "up to date with the bar of 2025-11-25",
    }
    assert server.calls == []


def test_a_bar_that_was_stored_open_is_replaced_when_it_has_closed(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    noon = NOW.replace(hour=12)
    with massive(monkeypatch, FakeMassive(now=noon)) as server:
        loader.load("IBM", now=noon, first="2025-11-24", last="2025-11-25")
        assert len(stored_bars(loader.connection, "day")) == 1
        loader.load("IBM", now=noon, first="2025-11-24", last="2025-11-25", include_open=True)
        opened = stored_bars(loader.connection, "day")[-1]
        # The basis says when it was fetched; then it was noon.
        loader.connection.execute("UPDATE series_sources SET fetched_at = %s, newest_fetched_at = %s", (noon, noon))
        server.fake.set_now(NOW)
        loader.load("IBM")
    closed = stored_bars(loader.connection, "day")[-1]
    assert (opened[1], closed[1]) == (date(2025, 11, 25), date(2025, 11, 25))
    assert closed[6] > opened[6]


def test_the_nightly_update_of_a_universe_takes_a_call_for_each_day_not_for_each_symbol(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    fake = FakeMassive(now=later(days=3), symbols=THIRTY)
    with massive(monkeypatch, fake) as server:
        frames = ("day", "week")
        loader.load(*THIRTY, timeframes=frames, first="2025-11-03", last="2025-11-25")
        loader.connection.execute(
            "UPDATE series_sources SET fetched_at = %s, newest_fetched_at = %s, adjusted_on = '2025-11-25'", (NOW, NOW)
        )
        server.forget_calls()
        friday = datetime(2025, 11, 28, 14, 0, tzinfo=NEW_YORK)  # it closed at 13:00, after a holiday
        run = loader.load(*THIRTY, timeframes=frames, now=friday)
        # One for splits, one for each session from the last stored one on; the week is made of stored and new days.
        assert sorted(call.path.split("?")[0].split("/")[-1] for call in server.calls) == [
            "2025-11-25",
            "2025-11-26",
            "2025-11-28",
            "splits",
        ]
        assert run_status(loader.connection, run) == "COMPLETED"
        nightly = [stored_bars(loader.connection, name) for name in frames]
        loader.connection.execute("TRUNCATE ohlcv_daily, ohlcv_weekly, series_sources")
        loader.load(*THIRTY, timeframes=frames, now=friday, first="2025-11-03", last="2025-11-28")
        assert [stored_bars(loader.connection, name) for name in frames] == nightly
        assert counts(loader.connection) == {"day": dict.fromkeys(THIRTY, 19), "week": dict.fromkeys(THIRTY, 4)}


def test_a_split_makes_the_whole_series_be_loaded_again(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    fake = FakeMassive(now=later(days=-7), splits=[FakeSplit("IBM", date(2025, 11, 20), 1, 4)])
    with massive(monkeypatch, fake) as server:
        loader.load("IBM", "MSFT", now=later(days=-7), first="2025-10-01", last="2025-11-18")
        before = stored_bars(loader.connection, "day")
        loader.connection.execute(
            "UPDATE series_sources SET adjusted_on = '2025-11-18', fetched_at = %s", (later(days=-7),)
        )
        fake.set_now(NOW)
        run = loader.load("IBM", "MSFT")
        truth = server.market.days("IBM", date(2025, 10, 1), date(2025, 11, 25), now=NOW, adjusted=True)
    stored = stored_bars(loader.connection, "day")
    ibm = [row for row in stored if row[0] == "IBM"]
    assert [row[5] for row in ibm] == truth.close.tolist()
    assert ibm[0][5] == pytest.approx(before[0][5] / 4, rel=1e-3)
    assert [row for row in stored if row[0] == "MSFT" and row[1] < date(2025, 11, 18)] == [
        row for row in before if row[0] == "MSFT" and row[1] < date(2025, 11, 18)
    ]
    found = results(loader.connection, run)
    assert found["IBM", "day"][1] == {
        "bars": 40,
        "first": "2025-10-01",
        "last": "2025-11-25",
        "replaced": "split 1 to 4 on 2025-11-20",
    }
    assert "replaced" not in (found["MSFT", "day"][1] or {})
    server.forget_calls()


def test_a_split_after_the_moment_of_the_run_is_seen_too(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, splits=[FakeSplit("IBM", date(2025, 11, 20), 1, 4)])):
        loader.load("IBM", now=later(days=-7), first="2025-11-03", last="2025-11-14")
        loader.connection.execute("UPDATE series_sources SET adjusted_on = '2025-11-14'")
        run = loader.load("IBM", now=later(days=-6))  # it waited until after the 20th
    assert (results(loader.connection, run)["IBM", "day"][1] or {})["replaced"] == "split 1 to 4 on 2025-11-20"


def test_without_word_of_splits_the_stored_bars_stay_adjusted_as_of_then(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, splits=[FakeSplit("IBM", date(2025, 11, 20), 1, 4)])) as server:
        loader.load("IBM", now=later(days=-7), first="2025-11-03", last="2025-11-14")
        loader.connection.execute("UPDATE series_sources SET adjusted_on = '2025-11-14'")
        server.misbehave("not_authorized", path="/v3/reference/splits")
        run = loader.load("IBM", now=later(days=-1))
        assert (results(loader.connection, run)["IBM", "day"][1] or {})["splits"] == "unknown"
        assert loader.connection.execute("SELECT adjusted_on FROM series_sources").fetchall() == [(date(2025, 11, 14),)]
        server.clear()
        run = loader.load("IBM")
    assert (results(loader.connection, run)["IBM", "day"][1] or {})["replaced"] == "split 1 to 4 on 2025-11-20"


def test_days_of_another_source_go_into_no_week_of_this_one(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, symbols=THIRTY), load_years=0.04) as server:
        loader.load(*THIRTY, first="2025-11-03", last="2025-11-21")
        loader.connection.execute("UPDATE ohlcv_daily SET volume = 7; DELETE FROM series_sources")
        loader.load(*THIRTY, timeframes=("day", "week"))
        truth = server.market.weeks("S07", date(2025, 11, 10), date(2025, 11, 14), adjusted=True)
    weeks = {row[:2]: row[6] for row in stored_bars(loader.connection, "week")}
    assert weeks["S07", date(2025, 11, 10)] == truth.volume[0]


def test_an_open_bar_is_not_forgotten_because_older_ones_were_loaded_after_it(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    noon = NOW.replace(hour=12)
    with massive(monkeypatch, FakeMassive(now=noon)) as server:
        loader.load("IBM", now=noon, first="2025-11-24", last="2025-11-25", include_open=True)
        loader.connection.execute("UPDATE series_sources SET fetched_at = %s, newest_fetched_at = %s", (noon, noon))
        opened = stored_bars(loader.connection, "day")[-1]
        server.set_now(NOW)
        loader.load("IBM", first="2025-10-01", last="2025-10-31")
        loader.load("IBM")
    closed = stored_bars(loader.connection, "day")[-1]
    assert closed[1] == opened[1]
    assert closed[6] > opened[6]


def test_a_save_that_was_planned_on_a_series_which_is_gone_is_rejected(connection: Connection) -> None:
    regular, extended = SeriesKind(True, "regular", "clock"), SeriesKind(True, "extended", "clock")
    base = SeriesSource("IBM", "1min", "massive", regular, date(2025, 11, 25), None, NOW, NOW, 1, (regular, None))
    with connection.transaction():
        assert find_conflicts(connection, [base]) == set()
        record_sources(connection, [base._replace(kind=extended, fetched_at=later(hours=-1))])
        assert find_conflicts(connection, [base]) == {"IBM"}
        # One that replaces what it was planned on, and was fetched last, may.
        assert find_conflicts(connection, [base._replace(planned_on=(extended, None))]) == set()
        assert find_conflicts(connection, [base._replace(planned_on=(extended, None), fetched_at=later(hours=-2))]) == {
            "IBM"
        }
        # Days have no hours.
        record_sources(connection, [base._replace(timeframe="day", kind=extended)])
        assert find_conflicts(connection, [base._replace(timeframe="day")]) == set()


def test_two_workers_that_replace_series_do_not_wait_for_each_other_for_ever(database_url: str) -> None:
    regular = SeriesKind(True, "regular", "clock")
    rounds = threading.Barrier(2)

    def save_often(symbol: str, run_id: int) -> None:
        with connect(database_url) as connection:
            for _ in range(20):
                bars = bars_of_days(20_000, 50)
                spool = BarSpool()
                spool.add(bars)
                base = SeriesSource(symbol, "day", "massive", regular, date(2025, 11, 25), None, NOW, NOW, run_id)
                value = BarsToSave(TIMEFRAMES["day"], spool, base, (date(2024, 1, 1), date(2025, 1, 1)), "")
                rounds.wait(patient(30))
                with connection.transaction():
                    LoadOhlcv().save(connection, [Completed(Item(run_id, 0, symbol, "day", 1), value)])

    with ThreadPoolExecutor(2) as pool:
        for saving in [pool.submit(save_often, "IBM", 1), pool.submit(save_often, "MSFT", 2)]:
            saving.result(60)
    with connect(database_url) as connection:
        assert counts(connection) == {"day": {"IBM": 50, "MSFT": 50}}


def test_gaps_are_filled_and_nothing_else_is_touched(server: RunningFakeMassive, loader: Loader) -> None:
    loader.load("IBM", first="2025-11-03", last="2025-11-25")
    whole = stored_bars(loader.connection, "day")
    loader.connection.execute("DELETE FROM ohlcv_daily WHERE date IN ('2025-11-06', '2025-11-12')")
    loader.connection.execute("UPDATE ohlcv_daily SET volume = 7 WHERE date = '2025-11-07'")
    run = loader.load("IBM", only_gaps=True, first="2025-11-03", last="2025-11-25")
    assert (results(loader.connection, run)["IBM", "day"][1] or {})["bars"] == 2
    stored = stored_bars(loader.connection, "day")
    assert [row[1] for row in stored] == [row[1] for row in whole]
    assert [row for row in stored if row[1] != date(2025, 11, 7)] == [
        row for row in whole if row[1] != date(2025, 11, 7)
    ]
    run = loader.load("IBM", only_gaps=True)
    assert results(loader.connection, run)["IBM", "day"][1] == {
        "bars": 0,
        "why": "no gap from 2025-11-03 to 2025-11-25",
    }


def test_what_another_load_fetched_later_stays_and_gets_what_it_lacks(
    server: RunningFakeMassive, loader: Loader
) -> None:
    loader.load("IBM", first="2025-11-10", last="2025-11-14")
    loader.connection.execute(
        "UPDATE series_sources SET fetched_at = now() + interval '1 hour', run_id = 4711;"
        " UPDATE ohlcv_daily SET volume = 7 WHERE date = '2025-11-12'"
    )
    loader.load("IBM", first="2025-11-03", last="2025-11-20")
    assert [row[1] for row in stored_bars(loader.connection, "day")] == _sessions("2025-11-03", "2025-11-20")
    assert [row[6] for row in stored_bars(loader.connection, "day") if row[1] == date(2025, 11, 12)] == [7]
    assert loader.connection.execute("SELECT run_id FROM series_sources").fetchall() == [(4711,)]


def test_a_load_of_another_series_than_was_stored_meanwhile_is_done_again(
    server: RunningFakeMassive, loader: Loader
) -> None:
    loader.load("IBM", first="2025-11-10", last="2025-11-14")
    loader.connection.execute(
        "UPDATE series_sources SET fetched_at = now() + interval '1 hour', last_split = '2025-11-20'"
    )
    run = loader.load("IBM", "MSFT", first="2025-11-17", last="2025-11-21", now=later(days=1))
    found = results(loader.connection, run)
    assert found["MSFT", "day"][0] == "completed"
    assert (found["IBM", "day"][0], found["IBM", "day"][2]) == ("completed", None)
    loader.connection.execute("UPDATE series_sources SET adjusted = false, fetched_at = now() + interval '1 hour'")
    run = loader.load("IBM", first="2025-11-17", last="2025-11-21")
    assert results(loader.connection, run)["IBM", "day"] == (
        "failed",
        None,
        "ItemError: bars of IBM were reloaded as another series since this load began",
    )


def test_bars_beyond_the_session_do_not_stand_in_for_those_that_are_missing(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch) as server:
        server.misbehave("bad_bar")
        run = loader.load("IBM", timeframes=("1min",), hours="extended", first="2025-11-24", last="2025-11-24")
    result = results(loader.connection, run)["IBM", "1min"][1] or {}
    assert result["bars"] > 390
    assert result.get("missing_bars", 0) == 390 - len(
        [
            row
            for row in stored_bars(loader.connection, "1min")
            if 9.5 <= row[1].astimezone(NEW_YORK).hour + row[1].astimezone(NEW_YORK).minute / 60 < 16
        ]
    )


def test_other_hours_make_the_whole_series_be_loaded_again(server: RunningFakeMassive, loader: Loader) -> None:
    loader.load("IBM", timeframes=("1min",), first="2025-11-20", last="2025-11-21")
    run = loader.load("IBM", timeframes=("1min",), first="2025-11-24", last="2025-11-25", hours="extended")
    assert (results(loader.connection, run)["IBM", "1min"][1] or {})["replaced"] == "hours were regular"
    first = stored_bars(loader.connection, "1min")[0][1]
    assert first < datetime(2025, 11, 20, 9, 30, tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("not_authorized", None, "PlanError: the plan of the key does not include this: "),
        ("server_error", None, "TransientError: massive answered HTTP 500: "),
        ("server_error", 503, "TransientError: massive answered HTTP 503: "),
        ("error_status", None, "TransientError: massive answered with status 'ERROR': "),
        ("missing_results", None, "BadPayloadError: the answer holds 0 bars and states 5"),
        ("truncated_json", None, "BadPayloadError: the answer of "),
        ("cut_connection", None, "TransientError: massive: RemoteProtocolError: "),
        ("not_json", None, "NoDataError: the answer of "),
        ("wrong_count", None, "BadPayloadError: the answer holds 5 bars and states 6"),
        ("foreign_next_url", None, "UnsupportedError: next_url leads to host 'http://other-host.invalid', not to "),
        ("loop_next_url", None, "BadPayloadError: next_url leads to a page that was read already"),
        ("wrong_ticker", None, "BadPayloadError: the bars are of "),
        ("wrong_adjusted", None, "BadPayloadError: adjusted is False, not true as requested"),
        ("redirect", None, "BadPayloadError: massive answered HTTP 302, a redirect"),
        ("timeout", 60.0, "TransientError: massive did not answer in time (ReadTimeout)"),
    ],
)
def test_what_cannot_be_loaded_fails_with_its_reason_and_stops_nobody(
    name: str, value: float | None, error: str, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, massive_timeout_seconds=patient(0.5)) as server:
        server.misbehave(name, value, tickers=["IBM"])
        run = loader.load("IBM", "MSFT", first="2025-11-17", last="2025-11-21")
    found = results(loader.connection, run)
    assert run_status(loader.connection, run) == "COMPLETED_WITH_ERRORS"
    assert found["MSFT", "day"] == ("completed", {"bars": 5, "first": "2025-11-17", "last": "2025-11-21"}, None)
    assert found["IBM", "day"][0] == "failed"
    assert (found["IBM", "day"][2] or "").startswith(error)
    assert counts(loader.connection) == {"day": {"MSFT": 5}}


def test_a_symbol_without_bars_fails_and_says_how_many_there_should_be(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, FakeMassive(now=NOW, unknown=["GONE"])):
        run = loader.load("GONE", "IBM", first="2025-11-17", last="2025-11-21")
    assert results(loader.connection, run)["GONE", "day"] == (
        "failed",
        None,
        "massive has no day bars of GONE from 2025-11-17 to 2025-11-21, where the exchange has 5",
    )


def test_bad_bars_are_rejected_and_counted_and_the_others_loaded(server: RunningFakeMassive, loader: Loader) -> None:
    server.misbehave("bad_bar", tickers=["IBM"])
    run = loader.load("IBM", first="2025-11-17", last="2025-11-21")
    state, result, error = results(loader.connection, run)["IBM", "day"]
    assert (state, error) == ("completed", None)
    assert result is not None
    assert (result["bars"], result["missing_bars"]) == (3, 2)
    assert sum(result["rejected"].values()) == 2
    assert "high" in result["example"]
    assert counts(loader.connection) == {"day": {"IBM": 3}}


def test_delayed_data_is_data(server: RunningFakeMassive, loader: Loader) -> None:
    server.misbehave("delayed")
    loader.load("IBM", first="2025-11-17", last="2025-11-21")
    assert counts(loader.connection) == {"day": {"IBM": 5}}


def test_a_server_that_fails_every_fifth_call_gives_exactly_the_bars_of_a_healthy_one(
    server: RunningFakeMassive, loader: Loader
) -> None:
    frames = ("1min", "hour", "day", "week", "month")
    words: dict[str, Any] = {"timeframes": frames, "first": "2025-10-27", "last": "2025-10-31"}
    loader.load(*THIRTY, **words)
    healthy = {name: stored_bars(loader.connection, name) for name in frames}
    loader.connection.execute(
        "TRUNCATE ohlcv_1min, ohlcv_hourly, ohlcv_daily, ohlcv_weekly, ohlcv_monthly, series_sources"
    )
    server.misbehave("random_failures", 0.2)
    run = loader.load(*THIRTY, **words)
    assert run_status(loader.connection, run) == "COMPLETED"
    assert any(call.status != 200 for call in server.calls)
    assert {name: stored_bars(loader.connection, name) for name in frames} == healthy


def test_a_load_that_runs_out_of_calls_goes_on_later_and_asks_for_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    with massive(monkeypatch, massive_page_limit=1000, massive_calls_per_minute=2) as server:
        run = loader.start("IBM", timeframes=("1min", "hour"), first="2025-11-17", last="2025-11-21")
        loader.consumer.work("load")
        assert loader.connection.execute("SELECT count(*) FROM load_checkpoints").fetchall() == [(2,)]
        assert stored_bars(loader.connection, "1min") == []
        # A minute goes by: the window is made to be over, not waited for.
        for _ in range(10):
            loader.streams.client.raw.delete(loader.streams.keys.rate_limit("massive"))
            if run_status(loader.connection, run) == "COMPLETED":
                break
            delayed = loader.streams.keys.delayed("load")
            entries: Any = loader.streams.client.raw.zrange(delayed, 0, -1)
            for entry in entries:
                loader.streams.client.raw.zadd(delayed, {entry: 0})
            loader.streams.queues.promote("load", 100)
            loader.consumer.work("load")
        paths = [call.path for call in server.calls]
    assert run_status(loader.connection, run) == "COMPLETED"
    assert len(paths) == len(set(paths)) == 4
    assert counts(loader.connection) == {"1min": {"IBM": 5 * 390}, "hour": {"IBM": 35}}
    assert loader.connection.execute("SELECT count(*) FROM load_checkpoints").fetchall() == [(0,)]
    assert {attempt for (attempt,) in loader.connection.execute("SELECT attempt FROM run_items")} == {1}


@pytest.mark.parametrize("seconds", [7, None])
def test_too_many_calls_put_the_item_off_and_nobody_waits(
    seconds: float | None, server: RunningFakeMassive, loader: Loader
) -> None:
    server.misbehave("rate_limit", seconds, tickers=["IBM"])
    run = loader.start("IBM", "MSFT", first="2025-11-17", last="2025-11-21")
    loader.consumer.work("load")
    assert counts(loader.connection) == {"day": {"MSFT": 5}}
    assert results(loader.connection, run)["IBM", "day"][0] == "pending"
    delayed: Any = loader.streams.client.raw.zrange(loader.streams.keys.delayed("load"), 0, -1, withscores=True)
    [(_, due_ms)] = delayed
    wait = due_ms / 1000 - datetime.now(NEW_YORK).timestamp()
    assert (seconds or 30) - 5 < wait <= (seconds or 30)
    server.clear()
    loader.consumer.work_until_empty("load")
    assert counts(loader.connection) == {"day": {"IBM": 5, "MSFT": 5}}


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ({"timeframes": ("2min",)}, "timeframe '2min' is not one of 1min, hour, day, week, month"),
        (
            {"provider": "sample", "timeframes": ("1min",)},
            "provider sample has no 1min bars: its own are day",
        ),
        ({"first": "2025-12-01"}, "first 2025-12-01 is after today, 2025-11-25 in New York"),
        (
            {"first": "2025-11-02", "last": "2024-11-01"},
            f"parameter ={_BACKWARDS} {_OF_THE_JOB} last 2024-11-01 is before first 2025-11-02",
        ),
        (
            {"years": 1, "first": "2025-11-02"},
            f"parameter ={{'years': 1, 'first': '2025-11-02'}} {_OF_THE_JOB} name either years or first",
        ),
        (
            {"last": "2025-11-02"},
            f"parameter ={{'last': '2025-11-02'}} {_OF_THE_JOB} last 2025-11-02 needs first or years",
        ),
    ],
)
def test_a_load_that_makes_no_sense_is_rejected_before_it_starts(
    words: dict[str, Any], error: str, loader: Loader
) -> None:
    with pytest.raises(BadInputError) as raised:
        loader.start("AAPL", **words)
    assert str(raised.value) == error


def test_an_unknown_provider_is_rejected_and_the_known_ones_are_named(loader: Loader) -> None:
    with pytest.raises(UnknownNameError) as raised:
        loader.start("AAPL", provider="yahoo")
    assert str(raised.value) == "no provider is named 'yahoo'; known: csv, massive, sample, synthetic"


def test_without_a_key_every_item_says_so(monkeypatch: pytest.MonkeyPatch, loader: Loader) -> None:
    monkeypatch.delenv("STREAMWORKERS_MASSIVE_API_KEY", raising=False)
    run = loader.load("AAPL", "IBM", first="2025-11-17", last="2025-11-21")
    assert {error for _, _, error in results(loader.connection, run).values()} == {
        "UsageError: the provider massive needs a key in STREAMWORKERS_MASSIVE_API_KEY"
    }


def test_several_timeframes_may_be_a_parameter_as_of_a_schedule(server: RunningFakeMassive, loader: Loader) -> None:
    words: dict[str, Any] = {"first": "2025-11-17", "last": "2025-11-21"}
    run = start_run(
        *(loader.connection, loader.streams, loader.registry, "load_ohlcv", "IBM"),
        as_of=NOW,
        parameters=words | {"timeframes": ["day", "week"]},
    )
    loader.consumer.work_until_empty("load")
    assert set(results(loader.connection, run)) == {("IBM", "day"), ("IBM", "week")}


def test_the_other_providers_load_days_and_make_weeks_and_months_of_them(loader: Loader) -> None:
    run = loader.load(
        "AAPL", timeframes=("day", "week", "month"), provider="sample", first="2012-01-01", last="2012-12-31"
    )
    assert run_status(loader.connection, run) == "COMPLETED"
    assert counts(loader.connection) == {"day": {"AAPL": 250}, "week": {"AAPL": 54}, "month": {"AAPL": 12}}
    loader.load("ZZZ", provider="synthetic", first="2025-11-03", last="2025-11-14")
    some = [row for row in stored_bars(loader.connection, "day") if row[0] == "ZZZ"]
    loader.load("ZZZ", provider="synthetic", first="2025-11-03", last="2025-11-25")
    assert [row for row in stored_bars(loader.connection, "day") if row[0] == "ZZZ"][: len(some)] == some
    assert len(some) == 10


def test_the_key_is_in_no_row_of_the_database_and_no_key_of_redis(
    monkeypatch: pytest.MonkeyPatch, loader: Loader, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "PLANTED-KEY-4711"
    with massive(monkeypatch, FakeMassive(now=NOW, api_keys=[secret]), massive_api_key=secret) as server:
        for number, name in enumerate(("server_error", "foreign_next_url", "truncated_json", "not_authorized")):
            server.misbehave(name, tickers=[f"S{number:02d}"])
        loader.load(*THIRTY, timeframes=("day", "hour"), first="2025-11-20", last="2025-11-21")
        monkeypatch.setenv("STREAMWORKERS_MASSIVE_API_KEY", "WRONG-KEY-4712")
        loader.load("IBM", first="2025-11-20", last="2025-11-21")
    tables = loader.connection.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind = 'r' AND n.nspname = 'public'"
    ).fetchall()
    assert len(tables) > 20
    for (table,) in tables:
        rows = str(loader.connection.execute(f'SELECT t::text FROM "{table}" t').fetchall())
        assert secret not in rows
        assert "WRONG-KEY" not in rows
    client = loader.streams.client.raw
    for name in client.scan_iter(f"{loader.streams.keys.prefix}*"):
        assert secret.encode() not in (client.dump(name) or b"")
    printed = capfd.readouterr()
    assert secret not in printed.out + printed.err
    assert "item_failed" in printed.out + printed.err
