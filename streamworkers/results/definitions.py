"""The tables `indicator_definitions` and `pattern_definitions`: what the analysis jobs compute."""

from collections.abc import Sequence
from functools import lru_cache

from psycopg.types.json import Jsonb

from streamworkers.analysis.definitions import IndicatorDefinition, PatternDefinition
from streamworkers.database import Connection, fetch_value
from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.calendar.timeframes import TIMEFRAMES, timeframe_named
from streamworkers.results.definition_rows import Row as Row
from streamworkers.results.definition_rows import list_indicator_definitions as list_indicator_definitions
from streamworkers.results.definition_rows import list_pattern_definitions as list_pattern_definitions


def read_enabled_indicators(connection: Connection, timeframe: str) -> tuple[Row, ...]:
    """The indicators that are enabled for a timeframe, as `parse_indicators` takes them."""
    return _select_enabled(list_indicator_definitions(connection), timeframe)


def read_enabled_patterns(connection: Connection, timeframe: str) -> tuple[Row, ...]:
    """The patterns that are enabled for a timeframe, as `parse_patterns` takes them."""
    return _select_enabled(list_pattern_definitions(connection), timeframe)


def add_indicator(connection: Connection, definition: IndicatorDefinition, timeframes: Sequence[str] | None) -> None:
    """Insert an enabled indicator for some timeframes, or for all, with every parameter.

    A default of TA-Lib may change with its version, and then the results of a row without it would. Raises
    BadInputError if the name is taken.
    """
    names = [timeframe_named(name).name for name in timeframes] if timeframes else list(TIMEFRAMES)
    statement = """
        INSERT INTO indicator_definitions (name, function, params, timeframes)
        VALUES (%s, %s, %s, %s)
        ON CONFLICT (name) DO NOTHING
        RETURNING name"""
    values = (definition.name, definition.function, Jsonb(definition.all_params()), names)
    if fetch_value(connection, statement, values) is None:
        raise BadInputError(f"indicator {definition.name!r} already exists: choose another name")


def enable_indicator(connection: Connection, name: str, enabled: bool) -> None:
    """Enable or disable an indicator. Raises UnknownNameError if there is none of that name."""
    statement = """
        UPDATE indicator_definitions SET enabled = %s, updated_at = now()
        WHERE name = %s
        RETURNING name"""
    if fetch_value(connection, statement, (enabled, name)) is None:
        raise UnknownNameError("indicator", name, [row["name"] for row in list_indicator_definitions(connection)])


def enable_pattern(connection: Connection, name: str, enabled: bool) -> None:
    """Enable or disable a pattern. Raises UnknownNameError if there is none of that name."""
    statement = """
        UPDATE pattern_definitions SET enabled = %s, updated_at = now()
        WHERE name = %s
        RETURNING name"""
    if fetch_value(connection, statement, (enabled, name)) is None:
        raise UnknownNameError("pattern", name, [row["name"] for row in list_pattern_definitions(connection)])


def require_known_definitions(connection: Connection, names: Sequence[str], *, patterns: bool) -> None:
    """Raise UnknownNameError for an indicator, or a pattern, that has neither a definition nor results."""
    kind, rows = "indicator", list_indicator_definitions(connection)
    query = "SELECT EXISTS (SELECT FROM indicator_results WHERE indicator = %s)"
    if patterns:
        kind, rows = "pattern", list_pattern_definitions(connection)
        query = "SELECT EXISTS (SELECT FROM daily_patterns WHERE pattern_name = %s)"
    known = {row["name"] for row in rows}
    for name in names:
        if name not in known and not fetch_value(connection, query, (name,)):
            raise UnknownNameError(kind, name, known)


# Definitions are keys of caches. Those of a later run are the same objects, so that no lookup compares parameters.
@lru_cache(maxsize=4096)
def _known_indicator(definition: IndicatorDefinition) -> IndicatorDefinition:
    return definition


@lru_cache(maxsize=4096)
def _known_pattern(definition: PatternDefinition) -> PatternDefinition:
    return definition


def parse_indicators(rows: Sequence[Row]) -> list[IndicatorDefinition]:
    """Validated definitions from rows. Raises BadInputError for the first row that breaks a rule."""
    return [_known_indicator(IndicatorDefinition.from_row(row)) for row in rows]


def parse_patterns(rows: Sequence[Row]) -> list[PatternDefinition]:
    """Validated definitions from rows. Raises BadInputError for the first row that breaks a rule."""
    return [_known_pattern(PatternDefinition.from_row(row)) for row in rows]


def _select_enabled(rows: Sequence[Row], timeframe: str) -> tuple[Row, ...]:
    return tuple(
        {key: value for key, value in row.items() if key not in ("enabled", "timeframes")}
        for row in rows
        if row["enabled"] and timeframe in row["timeframes"]
    )
