"""The rows of the definitions as they are stored, and the vocabulary that they give; without computing anything."""

from typing import Any

from streamworkers.database import Connection, fetch_rows
from streamworkers.rules.catalogue import CatalogueVocabulary, NamedFunction

Row = dict[str, Any]


def list_indicator_definitions(connection: Connection) -> list[Row]:
    """All rows of indicator_definitions, by name."""
    statement = """
        SELECT name, function, params, timeframes, enabled
        FROM indicator_definitions
        ORDER BY name"""
    return fetch_rows(connection, statement)


def list_pattern_definitions(connection: Connection) -> list[Row]:
    """All rows of pattern_definitions, by name."""
    statement = """
        SELECT name, function, params, timeframes, enabled, confidence_threshold
        FROM pattern_definitions
        ORDER BY name"""
    return fetch_rows(connection, statement)


def read_catalogue(connection: Connection) -> CatalogueVocabulary:
    """The vocabulary of rules with the names of the database's definitions."""
    indicators = [
        NamedFunction(row["name"], row["function"], row["params"]) for row in list_indicator_definitions(connection)
    ]
    patterns = [
        NamedFunction(row["name"], row["function"], row["params"], row["confidence_threshold"])
        for row in list_pattern_definitions(connection)
    ]
    return CatalogueVocabulary(indicators, patterns)
