"""What the sections of Market have in common: the chosen symbols, their bars, and the patterns found in them."""

from grafana.columns import series_colour
from grafana.looks import colour_of_line

DIRECTIONS = tuple(series_colour(name, colour_of_line(name)) for name in ("bullish", "bearish", "neutral"))
ZONE = "'America/New_York'"
TABLES_OF_BARS = (
    ("1min", "ohlcv_1min", '"timestamp"'),
    ("hour", "ohlcv_hourly", '"timestamp"'),
    ("day", "ohlcv_daily", "date"),
    ("week", "ohlcv_weekly", "date"),
    ("month", "ohlcv_monthly", "date"),
)
# The symbols of the universe. All symbols are found by skipping through the index, not by reading every bar.
CHOSEN = """
    WITH RECURSIVE every AS (
        (SELECT symbol FROM ohlcv_daily ORDER BY symbol LIMIT 1)
        UNION ALL
        SELECT (SELECT b.symbol FROM ohlcv_daily b WHERE b.symbol > e.symbol ORDER BY b.symbol LIMIT 1)
        FROM every e
        WHERE e.symbol IS NOT NULL
    ), chosen AS (
        SELECT symbol FROM every WHERE symbol IS NOT NULL AND ${universe:sqlstring} = '*'
        UNION
        SELECT m.symbol
        FROM group_memberships m
        JOIN definition_groups g ON g.id = m.group_id
        WHERE g.name = ${universe:sqlstring}
    )"""
UNTIL = f"($__timeTo()::timestamptz AT TIME ZONE {ZONE})::date"
OF_PATTERNS = """
    FROM chosen c
    JOIN daily_patterns p ON p.symbol = c.symbol
    WHERE $__timeFilter(p.bar_time) AND p.timeframe = ${timeframe:sqlstring}
      AND p.confidence >= ${confidence:sqlstring}::double precision
"""


def moment_of(kind: str, name: str) -> str:
    """A bar's time as stored in results: for a date, midnight in New York."""
    return name if kind == '"timestamp"' else f"({name}::timestamp AT TIME ZONE {ZONE})"
