"""The result tables: written by the analysis jobs, read by the command line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from streamworkers.analysis.patterns import Detection
from streamworkers.database import Connection

# Arrays go as %(name)b, in binary: psycopg writes them an order of magnitude faster than as text.
_UPSERT_INDICATORS = """
INSERT INTO indicator_results AS t (symbol, timeframe, indicator, bar_time, value, value_data, bars_used, run_id)
SELECT d.symbol, %(timeframe)s, d.indicator, d.bar_time, d.value, d.value_data::jsonb, d.bars_used, %(run_id)s
FROM unnest(%(symbols)b::text[], %(indicators)b::text[], %(bar_times)b::timestamptz[], %(values)b::float8[],
            %(data)b::text[], %(bars_used)b::int[]) AS d(symbol, indicator, bar_time, value, value_data, bars_used)
ON CONFLICT (symbol, timeframe, indicator, bar_time) DO UPDATE
SET value = excluded.value, value_data = excluded.value_data, bars_used = excluded.bars_used,
    run_id = excluded.run_id, calculated_at = excluded.calculated_at
WHERE (t.value, t.value_data, t.bars_used) IS DISTINCT FROM (excluded.value, excluded.value_data, excluded.bars_used)
  AND t.run_id <= excluded.run_id"""

_UPSERT_PATTERNS = """
INSERT INTO daily_patterns AS t
    (symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, metadata, run_id)
SELECT d.symbol, %(timeframe)s, d.pattern, d.bar_time, d.direction, d.signal, d.confidence, d.metadata::jsonb,
       %(run_id)s
FROM unnest(%(symbols)b::text[], %(patterns)b::text[], %(bar_times)b::timestamptz[], %(directions)b::text[],
            %(signals)b::int[], %(confidences)b::float8[], %(metadata)b::text[])
     AS d(symbol, pattern, bar_time, direction, signal, confidence, metadata)
ON CONFLICT (symbol, timeframe, pattern_name, bar_time) DO UPDATE
SET direction = excluded.direction, signal = excluded.signal, confidence = excluded.confidence,
    metadata = excluded.metadata, run_id = excluded.run_id, detected_at = excluded.detected_at
WHERE (t.direction, t.signal, t.confidence, t.metadata)
      IS DISTINCT FROM (excluded.direction, excluded.signal, excluded.confidence, excluded.metadata)
  AND t.run_id <= excluded.run_id
RETURNING symbol, pattern_name, bar_time, direction, confidence, metadata, detected_at"""

# A corrected bar can take a pattern away. What an older run found at the bars looked at now, and this one did not,
# goes; patterns that this run did not look for stay.
_DELETE_GONE = """
DELETE FROM daily_patterns p
USING unnest(%(scanned)b::text[], %(first_bars)b::timestamptz[], %(last_bars)b::timestamptz[])
      AS s(symbol, first_bar, last_bar)
WHERE p.symbol = s.symbol AND p.timeframe = %(timeframe)s AND p.bar_time BETWEEN s.first_bar AND s.last_bar
  AND p.pattern_name = ANY(%(evaluated)b) AND p.run_id < %(run_id)s
  AND NOT EXISTS (SELECT FROM unnest(%(symbols)b::text[], %(patterns)b::text[], %(bar_times)b::timestamptz[])
                  AS d(symbol, pattern, bar_time)
                  WHERE d.symbol = p.symbol AND d.pattern = p.pattern_name AND d.bar_time = p.bar_time)"""


@dataclass(frozen=True, slots=True)
class IndicatorRow:
    """One value to store."""

    symbol: str
    indicator: str
    bar_time: datetime
    value: float
    outputs: dict[str, float] | None
    bars_used: int


@dataclass(frozen=True, slots=True)
class PatternRow:
    """One detection to store."""

    symbol: str
    bar_time: datetime
    detection: Detection


@dataclass(frozen=True, slots=True)
class Scan:
    """The bars of a symbol at which patterns were looked for, from the first to the last."""

    symbol: str
    first_bar: datetime
    last_bar: datetime


def save_indicators(connection: Connection, run_id: int, timeframe: str, rows: Sequence[IndicatorRow]) -> None:
    """Insert values, and replace those of the same or an older run that differ."""
    if not rows:
        return
    connection.execute(
        _UPSERT_INDICATORS,
        {
            "timeframe": timeframe,
            "run_id": run_id,
            "symbols": [row.symbol for row in rows],
            "indicators": [row.indicator for row in rows],
            "bar_times": [row.bar_time for row in rows],
            "values": [row.value for row in rows],
            "data": [None if row.outputs is None else json.dumps(row.outputs) for row in rows],
            "bars_used": [row.bars_used for row in rows],
        },
    )


def save_patterns(
    connection: Connection,
    run_id: int,
    timeframe: str,
    rows: Sequence[PatternRow],
    scans: Sequence[Scan],
    evaluated: Sequence[str],
) -> list[dict[str, Any]]:
    """Store what was found at the scanned bars and remove what is no longer there; returns new and changed rows."""
    values = {
        "timeframe": timeframe,
        "run_id": run_id,
        "symbols": [row.symbol for row in rows],
        "patterns": [row.detection.pattern_name for row in rows],
        "bar_times": [row.bar_time for row in rows],
        "directions": [row.detection.direction for row in rows],
        "signals": [row.detection.signal for row in rows],
        "confidences": [row.detection.confidence for row in rows],
        "metadata": [json.dumps(row.detection.metadata) for row in rows],
        "scanned": [scan.symbol for scan in scans],
        "first_bars": [scan.first_bar for scan in scans],
        "last_bars": [scan.last_bar for scan in scans],
        "evaluated": list(evaluated),
    }
    connection.execute(_DELETE_GONE, values)
    if not rows:
        return []
    return connection.cursor(row_factory=dict_row).execute(_UPSERT_PATTERNS, values).fetchall()


def latest_indicators(connection: Connection, symbol: str, timeframe: str) -> list[dict[str, Any]]:
    """The newest value of each indicator of a symbol."""
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT DISTINCT ON (indicator) indicator, bar_time, value, value_data, bars_used, run_id, calculated_at"
        " FROM indicator_results WHERE symbol = %s AND timeframe = %s ORDER BY indicator, bar_time DESC",
        (symbol, timeframe),
    ).fetchall()


def patterns_of(connection: Connection, symbol: str, timeframe: str, limit: int) -> list[dict[str, Any]]:
    """The newest detections of a symbol."""
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, metadata, run_id, detected_at"
        " FROM daily_patterns WHERE symbol = %s AND timeframe = %s"
        " ORDER BY bar_time DESC, confidence DESC, pattern_name LIMIT %s",
        (symbol, timeframe, limit),
    ).fetchall()


def recent_detections(connection: Connection, hours: float) -> list[tuple[tuple[str, str], int]]:
    """((pattern, direction), number) of what was detected in the last hours, at whatever bar."""
    rows = connection.execute(
        "SELECT pattern_name, direction, count(*) FROM daily_patterns"
        " WHERE detected_at >= clock_timestamp() - make_interval(secs => %s) GROUP BY pattern_name, direction",
        (3600 * hours,),
    )
    return [((name, direction), count) for name, direction, count in rows]


def recent_patterns(
    connection: Connection, *, timeframe: str, min_confidence: float, direction: str | None, limit: int
) -> list[dict[str, Any]]:
    """The newest detections of all symbols, the strongest of each bar first."""
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, metadata, run_id, detected_at"
        " FROM daily_patterns WHERE timeframe = %s AND confidence >= %s AND (%s::text IS NULL OR direction = %s)"
        " ORDER BY bar_time DESC, confidence DESC, symbol, pattern_name LIMIT %s",
        (timeframe, min_confidence, direction, direction, limit),
    ).fetchall()
