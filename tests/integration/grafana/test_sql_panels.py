"""Every SELECT of every board runs as Grafana sends it, on the real schema, by a read-only role."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from grafana.boards import all_boards
from grafana.layout import flat
from grafana_macros import Range, Value, expand_sql
from invented_account import invent_account
from invented_alerts import blind_one, invent_alerts
from invented_audit import invent_audit
from invented_messages import invent_messages
from invented_notifications import invent_notifications
from streamworkers.database import Connection
from streamworkers.migrations import create_roles

NOW = datetime.now(UTC)
SPAN = Range(NOW - timedelta(days=60), NOW + timedelta(minutes=1))
SYMBOLS = ("AAA", "BBB", "CCC")
_BARS = {
    "ohlcv_daily": "d::date",
    "ohlcv_weekly": "d::date",
    "ohlcv_monthly": "d::date",
    "ohlcv_hourly": "d + interval '15 hours'",
    "ohlcv_1min": "d + interval '15 hours'",
}


@dataclass(frozen=True, slots=True)
class Select:
    """A SELECT, with its board and panel."""

    place: str
    text: str
    over_time: bool
    variables: tuple[str, ...]


def _selects() -> Iterator[Select]:
    for board in all_boards():
        model = board.model()
        names = tuple(variable["name"] for variable in model["templating"]["list"])
        for variable in model["templating"]["list"]:
            if isinstance(variable["query"], str) and variable["type"] == "query":
                yield Select(f"{board.uid} variable {variable['name']}", variable["query"], False, names)
        for owner in (*flat(model["panels"]), *model["annotations"]["list"]):
            called = owner.get("title") or owner["name"]
            for target in (*owner.get("targets", ()), owner.get("target", {})):
                if "rawSql" in target:
                    series = target["format"] == "time_series" or owner.get("type") == "candlestick"
                    yield Select(f"{board.uid} {called}", target["rawSql"], series or "name" in owner, names)


SELECTS = {select.place: select for select in _selects()}


def _daily_bars(connection: Connection) -> None:
    for table, moment in _BARS.items():
        if table == "ohlcv_1min":
            for back in range(4):
                connection.execute("SELECT ensure_ohlcv_1min_partition(%s)", (NOW - timedelta(days=28 * back),))
        column = "date" if moment.endswith("date") else '"timestamp"'
        connection.execute(
            f"INSERT INTO {table} (symbol, {column}, open, high, low, close, volume)"
            f" SELECT s, {moment}, 100, 103, 99, 100 + n * o, 1000"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS symbols (s, n),"
            "      generate_series(0, 39) AS o, LATERAL (SELECT %s::timestamptz - o * interval '1 day' AS d) days"
            " ON CONFLICT DO NOTHING",
            (list(SYMBOLS), datetime.combine(date.today() - timedelta(days=1), datetime.min.time(), UTC)),  # noqa: DTZ011
        )


def _results(connection: Connection, run: int) -> None:
    for indicator, value in (("sma_50", 105.0), ("sma_200", 120.0), ("rsi_14", 55.0)):
        connection.execute(
            "INSERT INTO indicator_results (symbol, timeframe, indicator, bar_time, value, bars_used, run_id)"
            " SELECT symbol, 'day', %s, date::timestamp AT TIME ZONE 'America/New_York', %s, 200, %s"
            " FROM ohlcv_daily",
            (indicator, value, run),
        )
    connection.execute(
        "INSERT INTO daily_patterns (symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, run_id)"
        " SELECT symbol, 'day', 'engulfing', date::timestamp AT TIME ZONE 'America/New_York', 'bullish', 100, 0.8, %s"
        " FROM ohlcv_daily WHERE date > CURRENT_DATE - 5",
        (run,),
    )


def _run(connection: Connection, schedule: int, age: timedelta, status: str, ended: bool) -> int:
    """A run of three items: one completed, one failed after a retry, one completed or open."""
    made = NOW - age
    connection.execute("SELECT ensure_run_items_partition(%s)", (made.date(),))
    row = connection.execute(
        "INSERT INTO runs (job, queue, status, target, timeframe, item_count, max_attempts, run_day,"
        " created_at, started_at, completed_at, completed_count, failed_count, cancelled_count, schedule_id, schedule,"
        " scheduled_for, trigger) VALUES ('analysis', 'analysis', %s, 'mine', 'day', 3, 3, %s, %s, %s, %s, %s, %s, %s,"
        " %s, 'nightly', %s, 'schedule') RETURNING id",
        (
            *(status, made.date(), made, made + timedelta(seconds=1)),
            *((made + timedelta(seconds=9), 2, 1, 0) if ended else (None, None, None, None)),
            *(schedule, made),
        ),
    ).fetchone()
    assert row is not None
    run = int(row[0])
    items: list[tuple[Any, ...]] = [
        (0, "AAA", "completed", 1, "host-1", None),
        (1, "BBB", "failed", 3, "host-2", "ValueError: 3 bars are too few"),
        (2, "CCC", "completed" if ended else "pending", 1, "host-1" if ended else None, None),
    ]
    for seq, symbol, item_status, attempt, worker, error in items:
        closed = made + timedelta(seconds=2 + seq) if item_status != "pending" else None
        connection.execute(
            "INSERT INTO run_items (run_day, run_id, seq, symbol, timeframe, status, attempt, worker, started_at,"
            " finished_at, error, history) VALUES (%s, %s, %s, %s, 'day', %s, %s, %s, %s, %s, %s, %s)",
            (
                *(made.date(), run, seq, symbol, item_status, attempt, worker, closed and made, closed, error),
                Jsonb([{"attempt": 1, "error": error}]) if error else None,
            ),
        )
    return run


def _schedule(connection: Connection) -> int:
    row = connection.execute(
        "INSERT INTO schedules (name, job, target, timeframe, cron, next_run_at)"
        " VALUES ('nightly', 'analysis', '{\"universe\": \"mine\"}', 'day', '10 18 * * *', %s) RETURNING id",
        (NOW + timedelta(hours=3),),
    ).fetchone()
    assert row is not None
    return int(row[0])


def _ticks_and_health(connection: Connection, schedule: int, run: int) -> None:
    ticks = [(1, "started", None, run), (2, "missed", "too late", None), (3, "skipped", "no coverage", None)]
    for days, state, reason, of_run in ticks:
        due = NOW - timedelta(days=days)
        connection.execute(
            "INSERT INTO ticks (schedule_id, scheduled_for, session, state, reason, run_id)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (schedule, due, due.date(), state, reason, of_run),
        )
    for minutes, component, status in ((5, "redis", "ok"), (5, "workers", "critical"), (65, "workers", "degraded")):
        connection.execute(
            "INSERT INTO health_checks (checked_at, component, status, message) VALUES (%s, %s, %s, %s)",
            (NOW - timedelta(minutes=minutes), component, status, f"{component} is {status}"),
        )


@pytest.fixture
def market(connection: Connection) -> dict[str, Value]:
    """A small market with its history, and a value for every variable; the connection is then read-only."""
    create_roles(connection)
    schedule = _schedule(connection)
    runs = [_run(connection, schedule, timedelta(days=days), "COMPLETED", True) for days in (3, 2, 1)]
    runs.append(_run(connection, schedule, timedelta(minutes=30), "COMPLETED_WITH_ERRORS", True))
    _run(connection, schedule, timedelta(minutes=1), "RUNNING", False)
    _daily_bars(connection)
    _results(connection, runs[-1])
    _ticks_and_health(connection, schedule, runs[-1])
    connection.execute("INSERT INTO definition_groups (name, type) VALUES ('mine', 'UNIVERSE')")
    connection.execute(
        "INSERT INTO group_memberships (group_id, symbol) SELECT id, unnest(%s::text[]) FROM definition_groups",
        (list(SYMBOLS),),
    )
    connection.execute(
        "INSERT INTO provider_outages (provider, since, next_probe_at, error) VALUES ('massive', %s, %s, 'HTTP 503')",
        (NOW - timedelta(minutes=5), NOW),
    )
    invent_alerts(connection, NOW, "mine")
    blind_one(connection, NOW)
    invent_notifications(connection, NOW)
    invent_audit(connection, NOW)
    invent_messages(connection, NOW)
    invent_account(connection, NOW, "nightly", "nightly")
    connection.execute("SET ROLE streamworkers_readonly")
    return {
        "job": ["analysis", "indicators"],
        "run": str(runs[-1]),
        "schedule": ["nightly"],
        "channel": ["tickstock.jobs.data_load", "tickstock.jobs.data_load.stream"],
        "universe": "mine",
        "symbol": "AAA",
        "timeframe": "day",
        "indicator": "rsi_14",
        "confidence": "0.5",
        "deadline": "19:00",
    }


def _columns_and_rows(connection: Connection, statement: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    cursor = connection.execute(statement.encode())
    assert cursor.description is not None
    return [column.name for column in cursor.description], cursor.fetchall()


def test_every_select_of_the_boards_gives_rows(connection: Connection, market: dict[str, Value]) -> None:
    assert len(SELECTS) > 50
    for select in SELECTS.values():
        statement = expand_sql(select.text, market, SPAN)
        try:
            columns, rows = _columns_and_rows(connection, statement)
        except psycopg.Error as error:
            pytest.fail(f"{select.place}: {error}\n{statement}")
        assert rows, f"{select.place} gives no row"
        assert len(set(columns)) == len(columns), f"{select.place}: {columns}"
        assert any(value is not None for row in rows for value in row), select.place
        if select.over_time:
            _is_a_series(select.place, columns, rows)


def _is_a_series(place: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    assert "time" in columns, place
    at = columns.index("time")
    times = [row[at] for row in rows]
    assert all(time is not None for time in times), place
    if "text" not in columns:
        assert times == sorted(times), f"{place} is not in the order of time"


def test_every_select_also_works_on_empty_tables(connection: Connection) -> None:
    create_roles(connection)
    connection.execute("SET ROLE streamworkers_readonly")
    nothing: dict[str, Value] = {
        "job": [],
        "run": "",
        "schedule": [],
        "channel": [],
        "universe": "*",
        "symbol": "",
        "timeframe": "1min",
        "indicator": "rsi_14",
        "confidence": "0",
        "deadline": "19:00",
    }
    for select in SELECTS.values():
        try:
            _columns_and_rows(connection, expand_sql(select.text, nothing, SPAN))
        except psycopg.Error as error:
            pytest.fail(f"{select.place}: {error}")


@pytest.mark.parametrize("timeframe", ["1min", "hour", "day", "week", "month"])
def test_candles_exist_in_every_timeframe(connection: Connection, market: dict[str, Value], timeframe: str) -> None:
    select = SELECTS["streamworkers-market Candles of $symbol"]
    statement = expand_sql(select.text, {**market, "timeframe": timeframe}, SPAN)
    columns, rows = _columns_and_rows(connection, statement)
    assert columns == ["time", "open", "high", "low", "close", "volume", "SMA 50", "SMA 200"]
    assert len(rows) == 40
    assert all((row[6] is not None) == (timeframe == "day") for row in rows)


def test_breadth_is_the_share_of_symbols_above_their_averages(connection: Connection, market: dict[str, Value]) -> None:
    # 39 days back the closes are 139, 178 and 217; on the newest day 100 each, under both averages.
    _, rows = _columns_and_rows(connection, expand_sql(SELECTS["streamworkers-market Breadth"].text, market, SPAN))
    assert rows[0][1:] == (1.0, 1.0)
    assert rows[-1][1:] == (0.0, 0.0)
    # Ten days back: 110, 120, 130 against 105 and 120.
    assert rows[-11][1:] == (1.0, pytest.approx(1 / 3))


def test_a_universe_of_all_is_every_symbol_with_daily_bars(connection: Connection, market: dict[str, Value]) -> None:
    connection.execute("RESET ROLE")
    connection.execute("DELETE FROM group_memberships WHERE symbol = 'CCC'")
    text = SELECTS["streamworkers-market variable symbol"].text
    for universe, symbols in (("*", ["AAA", "BBB", "CCC"]), ("mine", ["AAA", "BBB"]), ("it's none", [])):
        _, rows = _columns_and_rows(connection, expand_sql(text, {**market, "universe": universe}, SPAN))
        assert [row[0] for row in rows] == symbols


def test_a_symbol_that_was_delisted_is_ended_and_neither_fired_nor_done(
    connection: Connection, market: dict[str, Value]
) -> None:
    (select,) = [each for each in SELECTS.values() if '"last fired"' in each.text]

    def counts() -> dict[str, int]:
        columns, rows = _columns_and_rows(connection, expand_sql(select.text, market, SPAN))
        names = ("symbols", "pending", "fired", "done", "ended")
        return {name: sum(row[columns.index(name)] for row in rows) for name in names}

    before = counts()
    assert before["fired"] > 0
    connection.execute("RESET ROLE")
    connection.execute("UPDATE alert_symbols SET blind_since = NULL, ended_since = now()")
    assert counts() == {"symbols": before["symbols"], "pending": 0, "fired": 0, "done": 0, "ended": before["symbols"]}


def test_progress_of_an_open_run_is_counted_from_its_items(connection: Connection, market: dict[str, Value]) -> None:
    select = SELECTS["streamworkers-tonight Runs since the close, unfinished and failed ones first"]
    columns, rows = _columns_and_rows(connection, expand_sql(select.text, market, SPAN))
    newest = dict(zip(columns, rows[0], strict=True))
    assert newest["status"] == "RUNNING"
    assert newest["progress"] == pytest.approx(1 / 3)
    assert newest["failed"] == 1


@pytest.mark.parametrize("place", SELECTS)
def test_a_board_only_reads_and_quotes_what_it_is_given(place: str) -> None:
    text = SELECTS[place].text
    assert re.match(r"\s*(SELECT|WITH)\b", text)
    assert ";" not in text
    assert not re.search(r"\b(INSERT|UPDATE|DELETE|TRUNCATE|CREATE|ALTER|DROP|GRANT)\b", text)
    names = set(re.findall(r"\$\{(\w+)", text))
    assert names <= set(SELECTS[place].variables)


def test_the_role_of_grafana_cannot_write(connection: Connection, market: dict[str, Value]) -> None:
    assert market
    for statement in (
        "DELETE FROM runs",
        "CREATE TABLE mine (a int)",
        "UPDATE schedules SET enabled = false",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
