"""Which version of its bars a series has, and which of its results have to be computed again.

`market/bars/changes.py` records that in `series_state` with each write of bars. The next run of the symbol computes
outdated results again, and takes the mark back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from streamworkers.database import Connection

_READ = """
SELECT symbol, version, {outdated_from} AS outdated_from FROM series_state
WHERE symbol = ANY(%s) AND timeframe = %s"""

# A change after the version was read keeps its mark. Rows are locked in the order in which writers of bars lock them.
_CLEAR = """
WITH computed AS (
    SELECT e.symbol FROM series_state e
    JOIN unnest(%s::text[], %s::int[]) AS d (symbol, version) ON d.symbol = e.symbol AND d.version = e.version
    WHERE e.timeframe = %s ORDER BY e.symbol FOR UPDATE OF e
)
UPDATE series_state s SET {assignments} FROM computed c WHERE s.timeframe = %s AND s.symbol = c.symbol"""


@dataclass(frozen=True, slots=True)
class VersionMark:
    """The version of a symbol's stored bars, and the first bar whose results are outdated, if any."""

    version: int
    outdated_from: datetime | None


def read_version_marks(
    connection: Connection, symbols: Sequence[str], timeframe: str, kinds: Sequence[str]
) -> dict[str, VersionMark]:
    """The version and the mark of each series.

    `kinds` are those of `indicators` and `patterns` whose outdated results are asked for.
    Series that were never written since changes are recorded are absent. Read it before the bars, so that a change in
    between is not taken as seen.
    """
    outdated_from = sql.SQL("least({})").format(sql.SQL(", ").join(_column(kind) for kind in kinds))
    query = sql.SQL(_READ).format(outdated_from=outdated_from)
    rows = connection.execute(query, (list(symbols), timeframe)).fetchall()
    return {symbol: VersionMark(*values) for symbol, *values in rows}


def clear_outdated(connection: Connection, timeframe: str, versions: Mapping[str, int], kinds: Sequence[str]) -> None:
    """Take back the marks of series whose outdated results have been computed again from these versions."""
    assignments = sql.SQL(", ").join(sql.SQL("{} = NULL").format(_column(kind)) for kind in kinds)
    query = sql.SQL(_CLEAR).format(assignments=assignments)
    connection.execute(query, (list(versions), list(versions.values()), timeframe, timeframe))


def _column(kind: str) -> sql.Identifier:
    return sql.Identifier(f"outdated_{kind}_from")
