"""Finds series with a live alert and a change that no decision has seen, and books them for a run."""

from streamworkers.database import Connection, fetch_rows

_DUE = """
SELECT e.symbol, e.last_change FROM series_state e
LEFT JOIN alert_shards h ON h.timeframe = e.timeframe AND h.symbol = e.symbol
WHERE e.timeframe = %(timeframe)s AND e.last_change > coalesce(greatest(h.change_seen, h.change_requested), 0)
  AND EXISTS (
    SELECT FROM alert_symbols y JOIN alerts a ON a.id = y.alert_id
    WHERE y.timeframe = e.timeframe AND y.symbol = e.symbol AND y.until IS NULL
      AND a.removed_at IS NULL AND a.paused_at IS NULL)
ORDER BY e.symbol LIMIT %(most)s"""

_CREATE = """
INSERT INTO alert_shards (timeframe, symbol) SELECT %s, s.symbol FROM unnest(%s::text[]) AS s (symbol) ORDER BY 2
ON CONFLICT DO NOTHING"""

# Rows that a decision holds are left for the next step.
_BOOK = """
UPDATE alert_shards h SET change_requested = s.change
FROM (
    SELECT l.symbol, w.change FROM unnest(%(symbols)s::text[], %(changes)s::bigint[]) AS w (symbol, change)
    JOIN alert_shards l ON l.timeframe = %(timeframe)s AND l.symbol = w.symbol
    ORDER BY l.symbol FOR UPDATE OF l SKIP LOCKED
) s
WHERE h.timeframe = %(timeframe)s AND h.symbol = s.symbol AND h.change_requested < s.change
RETURNING h.symbol"""

_COUNTS = """
SELECT timeframe, sum(evaluations)::bigint AS evaluations, sum(unknown)::bigint AS unknown,
       sum(firings)::bigint AS firings, sum(late)::bigint AS late, sum(suppressed)::bigint AS suppressed
FROM alert_shards GROUP BY 1"""

_BEHIND = """
SELECT h.timeframe, count(*) FROM alert_shards h
JOIN series_state e ON e.timeframe = h.timeframe AND e.symbol = h.symbol AND e.last_change > h.change_seen
WHERE EXISTS (
    SELECT FROM alert_symbols y JOIN alerts a ON a.id = y.alert_id
    WHERE y.timeframe = h.timeframe AND y.symbol = h.symbol AND y.until IS NULL
      AND a.removed_at IS NULL AND a.paused_at IS NULL)
GROUP BY 1"""

_LATENESS = """
SELECT a.timeframe, max(f.lateness_seconds) FROM alert_firings f JOIN alerts a ON a.id = f.alert_id
WHERE f.fired_at > now() - interval '15 minutes' GROUP BY 1"""


def take_due(connection: Connection, timeframe: str, most: int) -> list[str]:
    """Book the changes of up to `most` series in the caller's transaction; returns the symbols for its run."""
    due = connection.execute(_DUE, {"timeframe": timeframe, "most": most}).fetchall()
    if not due:
        return []
    symbols, changes = [list(column) for column in zip(*due, strict=True)]
    connection.execute(_CREATE, (timeframe, symbols))
    words = {"timeframe": timeframe, "symbols": symbols, "changes": changes}
    return sorted(symbol for (symbol,) in connection.execute(_BOOK, words))


def count_decisions(connection: Connection) -> dict[str, dict[str, int]]:
    """What was counted since the tables are there, by timeframe: evaluations, unknown, firings, late, suppressed."""
    rows = fetch_rows(connection, _COUNTS)
    return {row.pop("timeframe"): row for row in rows}


def count_behind(connection: Connection) -> dict[str, int]:
    """Series with a live alert whose newest change is not decided yet, by timeframe."""
    return dict(connection.execute(_BEHIND).fetchall())


def read_lateness(connection: Connection) -> dict[str, float]:
    """The longest time between the write of a bar and a firing of the last 15 minutes, by timeframe."""
    return {timeframe: seconds for timeframe, seconds in connection.execute(_LATENESS) if seconds is not None}
