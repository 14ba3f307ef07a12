"""Reads results from the tables `indicator_results` and `daily_patterns`, counts them, and deletes old ones."""

from datetime import datetime
from typing import Any

from psycopg import sql

from streamworkers.database import Connection, count_matching, delete_matching, fetch_rows, fetch_value

Row = dict[str, Any]

# When a row was written: retention counts from there. A backfill of old bars is as new as any other result.
_WRITTEN_AT = {"indicator_results": "calculated_at", "daily_patterns": "detected_at"}


def find_oldest_result(
    connection: Connection, table: str, symbol: str, timeframe: str, since: datetime
) -> datetime | None:
    """The oldest bar from `since` on at which a symbol has a result in one of the two tables."""
    query = sql.SQL("SELECT min(bar_time) FROM {} WHERE symbol = %s AND timeframe = %s AND bar_time >= %s")
    found: datetime | None = fetch_value(connection, query.format(sql.Identifier(table)), (symbol, timeframe, since))
    return found


def list_latest_indicators(connection: Connection, symbol: str, timeframe: str) -> list[Row]:
    """The newest value of each indicator of a symbol, by name."""
    statement = """
        SELECT DISTINCT ON (indicator) indicator, bar_time, value, value_data, bars_used, series_version, run_id,
               calculated_at
        FROM indicator_results
        WHERE symbol = %s AND timeframe = %s
        ORDER BY indicator, bar_time DESC"""
    return fetch_rows(connection, statement, (symbol, timeframe))


def list_symbol_patterns(connection: Connection, symbol: str, timeframe: str, limit: int) -> list[Row]:
    """The newest detections of a symbol, the strongest of each bar first."""
    statement = """
        SELECT symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, metadata,
               series_version, run_id, detected_at
        FROM daily_patterns
        WHERE symbol = %s AND timeframe = %s
        ORDER BY bar_time DESC, confidence DESC, pattern_name
        LIMIT %s"""
    return fetch_rows(connection, statement, (symbol, timeframe, limit))


def list_recent_patterns(
    connection: Connection, *, timeframe: str, min_confidence: float, direction: str | None, limit: int
) -> list[Row]:
    """The newest detections of all symbols, the strongest of each bar first."""
    statement = """
        SELECT symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, metadata,
               series_version, run_id, detected_at
        FROM daily_patterns
        WHERE timeframe = %s AND confidence >= %s AND (%s::text IS NULL OR direction = %s)
        ORDER BY bar_time DESC, confidence DESC, symbol, pattern_name
        LIMIT %s"""
    return fetch_rows(connection, statement, (timeframe, min_confidence, direction, direction, limit))


def list_saved_indicators(connection: Connection, run_id: int, symbol: str, timeframe: str, limit: int) -> list[Row]:
    """The newest values of a symbol that a run has written and that none has replaced: indicator, bar_time, value."""
    statement = """
        SELECT indicator, bar_time, value, value_data, bars_used, calculated_at
        FROM indicator_results
        WHERE symbol = %s AND timeframe = %s AND run_id = %s
        ORDER BY bar_time DESC, indicator
        LIMIT %s"""
    return fetch_rows(connection, statement, (symbol, timeframe, run_id, limit))


def list_saved_patterns(connection: Connection, run_id: int, symbol: str, timeframe: str, limit: int) -> list[Row]:
    """The newest detections of a symbol that a run has written and that none has replaced."""
    statement = """
        SELECT pattern_name, bar_time, direction, signal, confidence, metadata, detected_at
        FROM daily_patterns
        WHERE symbol = %s AND timeframe = %s AND run_id = %s
        ORDER BY bar_time DESC, confidence DESC, pattern_name
        LIMIT %s"""
    return fetch_rows(connection, statement, (symbol, timeframe, run_id, limit))


def count_recent_detections(connection: Connection, hours: float) -> list[tuple[tuple[str, str], int]]:
    """The number of detections written in the last hours, whatever their bars, as ((pattern, direction), number)."""
    statement = """
        SELECT pattern_name, direction, count(*)
        FROM daily_patterns
        WHERE detected_at >= clock_timestamp() - make_interval(secs => %s)
        GROUP BY pattern_name, direction"""
    rows = connection.execute(statement, (3600 * hours,))
    return [((name, direction), count) for name, direction, count in rows]


def count_old_results(connection: Connection, table: str, before: datetime) -> int:
    """The number of rows of one of the two tables that were written before a moment."""
    return count_matching(connection, table, f"{_WRITTEN_AT[table]} < %s", (before,))


def delete_old_results(connection: Connection, table: str, before: datetime, limit: int) -> int:
    """Delete up to `limit` rows of one of the two tables that were written before a moment; returns how many."""
    return delete_matching(connection, table, f"{_WRITTEN_AT[table]} < %s", (before,), limit)
