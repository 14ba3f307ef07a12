"""Finds series with a live alert and a change that no decision has seen, and books them for a run.

A change for which there was a run, and which is not decided although that run has ended, is booked again: after 30 s,
then after twice as long each time up to an hour, and `MOST_RETRIES` times at most. A newer change has as many.
"""

from collections.abc import Sequence
from typing import NamedTuple

from streamworkers.database import Connection, fetch_rows

MOST_RETRIES = 8  # for about two hours
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 30, 3600

_IS_WATCHED = """
EXISTS (
    SELECT FROM alert_symbols y JOIN alerts a ON a.id = y.alert_id
    WHERE y.timeframe = e.timeframe AND y.symbol = e.symbol AND y.until IS NULL
      AND a.removed_at IS NULL AND a.paused_at IS NULL)"""
_HAS_ENDED = "(r.id IS NULL OR r.status NOT IN ('PENDING', 'RUNNING'))"

_DUE = f"""
SELECT e.symbol, e.last_change, coalesce(h.change_requested, 0), h.requested_run
FROM series_state e
LEFT JOIN alert_shards h ON h.timeframe = e.timeframe AND h.symbol = e.symbol
LEFT JOIN runs r ON r.id = h.requested_run
WHERE e.timeframe = %(timeframe)s AND e.last_change > coalesce(h.change_seen, 0)
  AND (e.last_change > coalesce(h.change_requested, 0)
    OR (h.retries < %(retries)s AND {_HAS_ENDED}
        AND coalesce(h.requested_at, '-infinity') + interval '1 second' * least(
            {_LONGEST_PAUSE_SECONDS}, {_FIRST_PAUSE_SECONDS} * 2 ^ h.retries) <= clock_timestamp()))
  AND {_IS_WATCHED}
ORDER BY e.symbol LIMIT %(most)s"""  # noqa: S608  # constant text

_CREATE = """
INSERT INTO alert_shards (timeframe, symbol) SELECT %s, s.symbol FROM unnest(%s::text[]) AS s (symbol) ORDER BY 2
ON CONFLICT DO NOTHING"""

# Rows that a decision holds are left for the next step, and so are those that another scheduler has booked meanwhile.
_BOOK = """
UPDATE alert_shards h
SET change_requested = s.change, requested_at = clock_timestamp(),
    retries = CASE WHEN h.change_requested < s.change THEN 0 ELSE h.retries + 1 END
FROM (
    SELECT l.symbol, w.change
    FROM unnest(%(symbols)s::text[], %(changes)s::bigint[], %(requested)s::bigint[], %(runs)s::bigint[])
        AS w (symbol, change, requested, run)
    JOIN alert_shards l ON l.timeframe = %(timeframe)s AND l.symbol = w.symbol
        AND l.change_requested = w.requested AND l.requested_run IS NOT DISTINCT FROM w.run
    ORDER BY l.symbol FOR UPDATE OF l SKIP LOCKED
) s
WHERE h.timeframe = %(timeframe)s AND h.symbol = s.symbol AND h.change_seen < s.change
RETURNING h.symbol"""

_NAME_RUN = "UPDATE alert_shards SET requested_run = %s WHERE timeframe = %s AND symbol = ANY(%s)"

_GIVEN_UP = f"""
SELECT e.timeframe, e.symbol, h.requested_run
FROM alert_shards h
JOIN series_state e ON e.timeframe = h.timeframe AND e.symbol = h.symbol AND e.last_change > h.change_seen
LEFT JOIN runs r ON r.id = h.requested_run
WHERE h.retries >= %s AND h.change_requested >= e.last_change AND {_HAS_ENDED} AND {_IS_WATCHED}
ORDER BY 1, 2 LIMIT %s"""  # noqa: S608  # constant text

_COUNTS = """
SELECT timeframe, sum(evaluations)::bigint AS evaluations, sum(unknown)::bigint AS unknown,
       sum(firings)::bigint AS firings, sum(late)::bigint AS late, sum(suppressed)::bigint AS suppressed
FROM alert_shards GROUP BY 1"""

_BEHIND = f"""
SELECT h.timeframe, count(*) FROM alert_shards h
JOIN series_state e ON e.timeframe = h.timeframe AND e.symbol = h.symbol AND e.last_change > h.change_seen
WHERE {_IS_WATCHED}
GROUP BY 1"""  # noqa: S608  # constant text

_LATENESS = """
SELECT a.timeframe, max(f.lateness_seconds) FROM alert_firings f JOIN alerts a ON a.id = f.alert_id
WHERE f.fired_at > now() - interval '15 minutes' GROUP BY 1"""


class UndecidedSeries(NamedTuple):
    """A series whose newest change is not decided, and of which no run is started any more."""

    timeframe: str
    symbol: str
    run: int | None


def take_due(connection: Connection, timeframe: str, most: int, retries: int = MOST_RETRIES) -> list[str]:
    """Book the changes of up to `most` series in the caller's transaction; returns the symbols for its run.

    `record_request` names that run in the same transaction.
    """
    due = connection.execute(_DUE, {"timeframe": timeframe, "most": most, "retries": retries}).fetchall()
    if not due:
        return []
    symbols, changes, requested, runs = [list(column) for column in zip(*due, strict=True)]
    connection.execute(_CREATE, (timeframe, symbols))
    words = {"timeframe": timeframe, "symbols": symbols, "changes": changes, "requested": requested, "runs": runs}
    return sorted(symbol for (symbol,) in connection.execute(_BOOK, words))


def record_request(connection: Connection, timeframe: str, symbols: Sequence[str], run_id: int) -> None:
    """Record the run about booked series: while it is open, it decides them or says why it does not."""
    connection.execute(_NAME_RUN, (run_id, timeframe, list(symbols)))


def list_given_up(connection: Connection, most: int, retries: int = MOST_RETRIES) -> list[UndecidedSeries]:
    """Up to `most` series whose change was requested as often as it is; a person has to find out why."""
    return [UndecidedSeries(*row) for row in connection.execute(_GIVEN_UP, (retries, most))]


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
