"""Selects stored indicators and patterns by symbol and range, for files and data frames."""

from collections.abc import Sequence
from datetime import datetime

from psycopg import sql

INDICATOR_COLUMNS = (
    "symbol",
    "timeframe",
    "indicator",
    "time",
    "value",
    "outputs",
    "bars_used",
    "run_id",
    "written_at",
)
PATTERN_COLUMNS = (
    "symbol",
    "timeframe",
    "pattern",
    "time",
    "direction",
    "signal",
    "confidence",
    "metadata",
    "run_id",
    "written_at",
)
_INDICATORS = """
SELECT symbol, timeframe, indicator, bar_time AS time, value, value_data AS outputs, bars_used, run_id,
       calculated_at AS written_at
FROM indicator_results"""
_PATTERNS = """
SELECT symbol, timeframe, pattern_name AS pattern, bar_time AS time, direction, signal, confidence, metadata, run_id,
       detected_at AS written_at
FROM daily_patterns"""
_RANGE = """
WHERE timeframe = %s AND (%s::text[] IS NULL OR symbol = ANY(%s)) AND bar_time >= %s AND bar_time < %s
  AND (%s::text[] IS NULL OR {name} = ANY(%s))
ORDER BY symbol, {name}, bar_time"""

Selection = tuple[sql.Composed, tuple[object, ...]]


def indicator_rows(
    timeframe: str, symbols: Sequence[str] | None, names: Sequence[str] | None, first: datetime, end: datetime
) -> Selection:
    """Return a query and its parameters: values of indicators from `first` to before `end`; None is all."""
    return _select(_INDICATORS, "indicator", timeframe, symbols, names, (first, end))


def pattern_rows(
    timeframe: str, symbols: Sequence[str] | None, names: Sequence[str] | None, first: datetime, end: datetime
) -> Selection:
    """Return a query and its parameters: detections from `first` to before `end`; None is all."""
    return _select(_PATTERNS, "pattern_name", timeframe, symbols, names, (first, end))


def _select(
    columns: str,
    name: str,
    timeframe: str,
    symbols: Sequence[str] | None,
    names: Sequence[str] | None,
    span: tuple[datetime, datetime],
) -> Selection:
    wanted, chosen = (None if given is None else list(given) for given in (symbols, names))
    query = sql.SQL(columns) + sql.SQL(_RANGE).format(name=sql.Identifier(name))
    return query, (timeframe, wanted, wanted, *span, chosen, chosen)
