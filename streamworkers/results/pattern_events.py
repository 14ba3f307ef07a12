"""The event that is published for each new or changed detection (docs/reference/events.md)."""

from datetime import UTC
from typing import Any

from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import PATTERNS_CHANNEL
from streamworkers.market.calendar.timeframes import EXCHANGE_ZONE, timeframe_named

PATTERN_SCHEMA_VERSION = 1


def pattern_event(row: dict[str, Any], timeframe: str, run_id: int) -> Event:
    """The event for a row that `save_patterns` returned; `bar_time` is in New York unless the bars are intraday."""
    zone = UTC if timeframe_named(timeframe).intraday else EXCHANGE_ZONE
    payload = {
        "schema_version": PATTERN_SCHEMA_VERSION,
        "symbol": row["symbol"],
        "pattern_name": row["pattern_name"],
        "confidence": row["confidence"],
        "direction": row["direction"],
        "timeframe": timeframe,
        "bar_time": row["bar_time"].astimezone(zone).isoformat(),
        "detected_at": row["detected_at"].isoformat(),
        "run_id": run_id,
        "metadata": row["metadata"],
    }
    return Event(PATTERNS_CHANNEL, payload)
