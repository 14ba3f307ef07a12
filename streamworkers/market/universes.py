"""Universes: named sets of symbols, kept as groups with memberships."""

import re
from collections.abc import Collection

import psycopg

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.row_rules import BrokenRuleError, Rule, require_symbol

UNIVERSE_TYPES = ("ETF", "THEME", "SECTOR", "SEGMENT", "UNIVERSE", "CUSTOM")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def require_universe_name(name: str) -> str:
    """The name, unchanged; raises BrokenRuleError (a BadInputError) where it holds more than letters, digits, `_-.`."""
    if not _NAME.fullmatch(name):
        raise BrokenRuleError(
            Rule.BAD_NAME, f"the universe name {name!r} is not made of letters, digits, '_', '-' and '.' alone"
        )
    return name


def list_universes(connection: psycopg.Connection) -> list[tuple[str, str, str, int]]:
    """(name, type, description, number of symbols) of every universe, by name and type."""
    return connection.execute(
        """
        SELECT g.name, g.type, g.description, count(m.symbol)
        FROM definition_groups g LEFT JOIN group_memberships m ON m.group_id = g.id
        GROUP BY g.id ORDER BY g.name, g.type
        """
    ).fetchall()


def resolve(connection: psycopg.Connection, expression: str) -> tuple[str, ...]:
    """The symbols of `sp500:nasdaq100`: the distinct union of the named universes, sorted by code point.

    A name that groups of several types share means all of them. Raises UnknownNameError for a name that no universe
    has, BadInputError where the expression holds no name or one that is none.
    """
    names = [require_universe_name(name.strip()) for name in expression.split(":")]
    known = {name for (name,) in connection.execute("SELECT name FROM definition_groups").fetchall()}
    for name in names:
        if name not in known:
            raise UnknownNameError("universe", name, known)
    rows = connection.execute(
        """
        SELECT DISTINCT m.symbol FROM group_memberships m JOIN definition_groups g ON g.id = m.group_id
        WHERE g.name = ANY(%s)
        """,
        (names,),
    ).fetchall()
    return tuple(sorted(symbol for (symbol,) in rows))


def add_symbols(
    connection: psycopg.Connection, universe: str, symbols: Collection[str], *, type_name: str = "UNIVERSE"
) -> int:
    """Add symbols to a universe, made where there is none of that name and type; the number that were new.

    Raises BadInputError for a name, type or symbol that breaks a rule; then nothing is added.
    """
    require_universe_name(universe)
    if type_name not in UNIVERSE_TYPES:
        raise BadInputError(f"the type {type_name!r} is not one of {', '.join(UNIVERSE_TYPES)}")
    wanted = [require_symbol(symbol) for symbol in sorted(set(symbols))]
    with connection.transaction():
        group = group_id(connection, universe, type_name)
        return connection.execute(
            "INSERT INTO group_memberships (group_id, symbol) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            (group, wanted),
        ).rowcount


def group_id(connection: psycopg.Connection, name: str, type_name: str, description: str = "") -> int:
    """The id of the group, made where it is missing and locked to the end of the transaction.

    An empty description leaves the one that is there.
    """
    row = connection.execute(
        """
        INSERT INTO definition_groups AS g (name, type, description) VALUES (%s, %s, %s)
        ON CONFLICT (name, type) DO UPDATE
        SET description = coalesce(nullif(excluded.description, ''), g.description), updated_at = now()
        RETURNING id
        """,
        (name, type_name, description),
    ).fetchone()
    assert row is not None
    return int(row[0])
