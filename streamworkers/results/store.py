"""Writes the results of the analysis jobs to the tables `indicator_results` and `daily_patterns`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.errors import UniqueViolation

from streamworkers.analysis.patterns import Detection
from streamworkers.database import Connection, fetch_rows

# Arrays are sent as %(name)b, in binary: psycopg writes them ten times as fast as text.
_UPSERT_INDICATORS = """
INSERT INTO indicator_results AS t
    (symbol, timeframe, indicator, bar_time, value, value_data, bars_used, series_version, run_id)
SELECT d.symbol, %(timeframe)s, d.indicator, d.bar_time, d.value, d.value_data::jsonb, d.bars_used, d.series_version,
       %(run_id)s
FROM unnest(%(symbols)b::text[], %(indicators)b::text[], %(bar_times)b::timestamptz[], %(values)b::float8[],
            %(data)b::text[], %(bars_used)b::int[], %(versions)b::int[])
     AS d(symbol, indicator, bar_time, value, value_data, bars_used, series_version)
ON CONFLICT (symbol, timeframe, indicator, bar_time) DO UPDATE
SET value = excluded.value, value_data = excluded.value_data, bars_used = excluded.bars_used,
    series_version = excluded.series_version, run_id = excluded.run_id, calculated_at = excluded.calculated_at
WHERE (t.value, t.value_data, t.bars_used, t.series_version)
      IS DISTINCT FROM (excluded.value, excluded.value_data, excluded.bars_used, excluded.series_version)
  AND t.run_id <= excluded.run_id
  AND (t.bars_used <= excluded.bars_used OR t.series_version < excluded.series_version OR NOT %(cut)s)"""

# A value can cease to exist, as where a corrected bar makes the formula 0/0.
_DELETE_GAPS = """
DELETE FROM indicator_results t
USING unnest(%(symbols)b::text[], %(indicators)b::text[], %(first_bars)b::timestamptz[], %(last_bars)b::timestamptz[])
      AS g(symbol, indicator, first_bar, last_bar)
WHERE t.symbol = g.symbol AND t.timeframe = %(timeframe)s AND t.indicator = g.indicator
  AND t.bar_time BETWEEN g.first_bar AND g.last_bar AND t.run_id < %(run_id)s"""

_IS_STORED = """
SELECT FROM indicator_results WHERE symbol = %s AND timeframe = %s AND indicator = %s AND bar_time = %s"""

_COPY_INDICATORS = """
COPY indicator_results (symbol, timeframe, indicator, bar_time, value, value_data, bars_used, series_version, run_id)
FROM STDIN (FORMAT BINARY)"""
_INDICATOR_TYPES = ("text", "text", "text", "timestamptz", "float8", "jsonb", "int4", "int4", "int8")
_WORTH_COPYING = 200

_UPSERT_PATTERNS = """
INSERT INTO daily_patterns AS t
    (symbol, timeframe, pattern_name, bar_time, direction, signal, confidence, metadata, series_version, run_id)
SELECT d.symbol, %(timeframe)s, d.pattern, d.bar_time, d.direction, d.signal, d.confidence, d.metadata::jsonb,
       d.series_version, %(run_id)s
FROM unnest(%(symbols)b::text[], %(patterns)b::text[], %(bar_times)b::timestamptz[], %(directions)b::text[],
            %(signals)b::int[], %(confidences)b::float8[], %(metadata)b::text[], %(versions)b::int[])
     AS d(symbol, pattern, bar_time, direction, signal, confidence, metadata, series_version)
ON CONFLICT (symbol, timeframe, pattern_name, bar_time) DO UPDATE
SET direction = excluded.direction, signal = excluded.signal, confidence = excluded.confidence,
    metadata = excluded.metadata, series_version = excluded.series_version,
    run_id = excluded.run_id, detected_at = excluded.detected_at
WHERE (t.direction, t.signal, t.confidence, t.metadata)
      IS DISTINCT FROM (excluded.direction, excluded.signal, excluded.confidence, excluded.metadata)
  AND t.run_id <= excluded.run_id AND NOT %(cut)s
RETURNING symbol, pattern_name, bar_time, direction, confidence, metadata, detected_at"""

# A detection that did not change is no event, so the version of its bars is written apart.
_CONFIRM_PATTERNS = """
UPDATE daily_patterns t SET series_version = d.series_version
FROM unnest(%(symbols)b::text[], %(patterns)b::text[], %(bar_times)b::timestamptz[], %(versions)b::int[])
     AS d(symbol, pattern, bar_time, series_version)
WHERE t.symbol = d.symbol AND t.timeframe = %(timeframe)s AND t.pattern_name = d.pattern AND t.bar_time = d.bar_time
  AND t.series_version < d.series_version AND t.run_id <= %(run_id)s AND NOT %(cut)s"""

# Correcting a bar can make a pattern disappear. Deletes what an older run detected at the bars scanned now and this run
# did not; patterns that this run did not look for stay.
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
    """One indicator at one bar, to store.

    `value` is the main output, `outputs` every output by name where there are several. `bar_time` is the start of the
    bar, `bars_used` the number of bars that the value was computed from, and `series_version` the version of the
    stored bars.
    """

    symbol: str
    indicator: str
    bar_time: datetime
    value: float
    outputs: dict[str, float] | None
    bars_used: int
    series_version: int = 0


@dataclass(frozen=True, slots=True)
class PatternRow:
    """One pattern detected at one bar, to store; `bar_time` is the start of the bar."""

    symbol: str
    bar_time: datetime
    detection: Detection
    series_version: int = 0


@dataclass(frozen=True, slots=True)
class Scan:
    """The range of bars of a symbol at which patterns were looked for, by the start of the first and the last bar."""

    symbol: str
    first_bar: datetime
    last_bar: datetime


@dataclass(frozen=True, slots=True)
class ValueGap:
    """A range of bars at which an indicator was computed and has no value, by the start of the first and last bar."""

    symbol: str
    indicator: str
    first_bar: datetime
    last_bar: datetime


def save_indicators(
    connection: Connection,
    run_id: int,
    timeframe: str,
    rows: Sequence[IndicatorRow],
    gaps: Sequence[ValueGap] = (),
    *,
    cut: bool = False,
) -> None:
    """Insert new values, replace values of the same or an older run where they differ, and delete those in the gaps.

    Without `cut`, the values are those that the stored bars give. With it, a limit kept bars from being read; then no
    value that was computed from more bars is replaced.
    """
    if gaps:
        _delete_gaps(connection, run_id, timeframe, gaps)
    if not rows or (len(rows) >= _WORTH_COPYING and _copy_new(connection, run_id, timeframe, rows)):
        return
    connection.execute(
        _UPSERT_INDICATORS,
        {
            "timeframe": timeframe,
            "run_id": run_id,
            "cut": cut,
            "symbols": [row.symbol for row in rows],
            "indicators": [row.indicator for row in rows],
            "bar_times": [row.bar_time for row in rows],
            "values": [row.value for row in rows],
            "data": [None if row.outputs is None else json.dumps(row.outputs) for row in rows],
            "bars_used": [row.bars_used for row in rows],
            "versions": [row.series_version for row in rows],
        },
    )


def _delete_gaps(connection: Connection, run_id: int, timeframe: str, gaps: Sequence[ValueGap]) -> None:
    connection.execute(
        _DELETE_GAPS,
        {
            "timeframe": timeframe,
            "run_id": run_id,
            "symbols": [gap.symbol for gap in gaps],
            "indicators": [gap.indicator for gap in gaps],
            "first_bars": [gap.first_bar for gap in gaps],
            "last_bars": [gap.last_bar for gap in gaps],
        },
    )


def _copy_new(connection: Connection, run_id: int, timeframe: str, rows: Sequence[IndicatorRow]) -> bool:
    """Insert values with COPY, in two thirds of the time, if none of them is stored; False, with no change, if one is.

    Values that are stored were mostly stored together, so the first row nearly always tells.
    """
    first = rows[0]
    found = connection.execute(_IS_STORED, (first.symbol, timeframe, first.indicator, first.bar_time)).fetchone()
    if found is not None:
        return False
    try:
        with connection.transaction(), connection.cursor().copy(_COPY_INDICATORS) as copy:
            copy.set_types(_INDICATOR_TYPES)
            for row in rows:
                head = (row.symbol, timeframe, row.indicator, row.bar_time)
                copy.write_row((*head, row.value, row.outputs, row.bars_used, row.series_version, run_id))
    except UniqueViolation:
        return False
    return True


def save_patterns(
    connection: Connection,
    run_id: int,
    timeframe: str,
    rows: Sequence[PatternRow],
    scans: Sequence[Scan],
    evaluated: Sequence[str],
) -> list[dict[str, Any]]:
    """Store the detections, and delete those of older runs at the scanned bars that were not detected again.

    `evaluated` are the names of the patterns that were looked for. Without any scan, as where a limit kept bars from
    being read, no stored detection is replaced. Returns the rows that are new or have changed.
    """
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
        "versions": [row.series_version for row in rows],
        "scanned": [scan.symbol for scan in scans],
        "first_bars": [scan.first_bar for scan in scans],
        "last_bars": [scan.last_bar for scan in scans],
        "evaluated": list(evaluated),
        "cut": not scans,
    }
    if scans:
        connection.execute(_DELETE_GONE, values)
    if not rows:
        return []
    changed = fetch_rows(connection, _UPSERT_PATTERNS, values)
    if any(row.series_version for row in rows):
        connection.execute(_CONFIRM_PATTERNS, values)
    return changed
