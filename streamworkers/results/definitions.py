"""The rows of `indicator_definitions` and `pattern_definitions`: what the analysis jobs compute."""

from collections.abc import Sequence
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.database import Connection
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.calendar.timeframes import TIMEFRAMES, timeframe_named

Row = dict[str, Any]


def list_indicators(connection: Connection) -> list[Row]:
    """All rows of indicator_definitions by name, as dictionaries."""
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT name, function, params, timeframes, enabled FROM indicator_definitions ORDER BY name"
    ).fetchall()


def list_patterns(connection: Connection) -> list[Row]:
    """All rows of pattern_definitions by name, as dictionaries."""
    cursor = connection.cursor(row_factory=dict_row)
    return cursor.execute(
        "SELECT name, function, params, timeframes, enabled, confidence_threshold"
        " FROM pattern_definitions ORDER BY name"
    ).fetchall()


def enabled_rows(rows: Sequence[Row], timeframe: str) -> list[Row]:
    """The enabled rows of a timeframe, without what only the registry needs."""
    return [
        {key: value for key, value in row.items() if key not in ("enabled", "timeframes")}
        for row in rows
        if row["enabled"] and timeframe in row["timeframes"]
    ]


def add_indicator(connection: Connection, definition: IndicatorDefinition, timeframes: Sequence[str] | None) -> None:
    """Insert an enabled indicator for some timeframes, or for all. Raises BadInputError for a name that is taken."""
    names = [timeframe_named(name).name for name in timeframes] if timeframes else list(TIMEFRAMES)
    row = connection.execute(
        "INSERT INTO indicator_definitions (name, function, params, timeframes) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (name) DO NOTHING RETURNING name",
        (definition.name, definition.function, Jsonb(dict(definition.params)), names),
    ).fetchone()
    if row is None:
        raise BadInputError(f"indicator {definition.name!r} exists already; choose another name")


def enable_indicator(connection: Connection, name: str, enabled: bool) -> None:
    """Switch an indicator on or off. Raises UnknownNameError."""
    row = connection.execute(
        "UPDATE indicator_definitions SET enabled = %s, updated_at = now() WHERE name = %s RETURNING name",
        (enabled, name),
    ).fetchone()
    if row is None:
        raise UnknownNameError("indicator", name, [row["name"] for row in list_indicators(connection)])


def enable_pattern(connection: Connection, name: str, enabled: bool) -> None:
    """Switch a pattern on or off. Raises UnknownNameError."""
    row = connection.execute(
        "UPDATE pattern_definitions SET enabled = %s, updated_at = now() WHERE name = %s RETURNING name",
        (enabled, name),
    ).fetchone()
    if row is None:
        raise UnknownNameError("pattern", name, [row["name"] for row in list_patterns(connection)])


def indicator_definitions(rows: Sequence[Row]) -> list[IndicatorDefinition]:
    """Checked definitions from rows."""
    return [IndicatorDefinition.from_row(row) for row in rows]


def pattern_definitions(rows: Sequence[Row]) -> list[PatternDefinition]:
    """Checked definitions from rows."""
    return [PatternDefinition.from_row(row) for row in rows]
