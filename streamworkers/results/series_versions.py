"""The tables `stored_series` and `series_versions`: which bars are stored, and which results have to be computed again.

Triggers on the tables of bars write them: every change of stored bars gives the series a new version and marks the
results of bars from the changed one on as outdated. The next run of the symbol computes them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from streamworkers.database import Connection, fetch_rows

_READ = """
SELECT symbol, version, newest, {outdated_from} AS outdated_from FROM stored_series
WHERE symbol = ANY(%s) AND timeframe = %s"""

# A change after the version was read keeps its mark.
_CLEAR = """
UPDATE stored_series s SET {assignments}
FROM unnest(%s::text[], %s::int[]) AS d (symbol, version)
WHERE s.symbol = d.symbol AND s.timeframe = %s AND s.version = d.version"""


@dataclass(frozen=True, slots=True)
class VersionMark:
    """The version of a symbol's stored bars, the newest bar, and the first one whose results are outdated, if any."""

    version: int
    newest: datetime | None
    outdated_from: datetime | None


def read_version_marks(
    connection: Connection, symbols: Sequence[str], timeframe: str, kinds: Sequence[str]
) -> dict[str, VersionMark]:
    """The version and the mark of each series.

    `kinds` are those of `indicators` and `patterns` whose outdated results are asked for.
    Symbols that never had bars are absent. Read it before the bars, so that a change in between is not taken as seen.
    """
    outdated_from = sql.SQL("least({})").format(sql.SQL(", ").join(_column(kind) for kind in kinds))
    query = sql.SQL(_READ).format(outdated_from=outdated_from)
    rows = connection.execute(query, (list(symbols), timeframe)).fetchall()
    return {symbol: VersionMark(*values) for symbol, *values in rows}


def clear_outdated(connection: Connection, timeframe: str, versions: Mapping[str, int], kinds: Sequence[str]) -> None:
    """Take back the marks of series whose outdated results have been computed again from these versions."""
    assignments = sql.SQL(", ").join(sql.SQL("{} = NULL").format(_column(kind)) for kind in kinds)
    query = sql.SQL(_CLEAR).format(assignments=assignments)
    connection.execute(query, (list(versions), list(versions.values()), timeframe))


def list_series_versions(connection: Connection, symbol: str, timeframe: str) -> list[dict[str, Any]]:
    """Every version of a symbol's bars, the newest first: what changed, when, and as what a load had got the bars."""
    statement = """
        SELECT version, changed_from, changed_at, provider, adjusted, adjusted_on, last_split FROM series_versions
        WHERE symbol = %s AND timeframe = %s ORDER BY version DESC"""
    return fetch_rows(connection, statement, (symbol, timeframe))


def _column(kind: str) -> sql.Identifier:
    return sql.Identifier(f"outdated_{kind}_from")
