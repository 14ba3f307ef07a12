"""Universes: named sets of symbols, stored as groups with memberships."""

from collections.abc import Collection, Mapping

import psycopg

from streamworkers.errors import BadInputError, UnknownNameError
from streamworkers.market.bars.rules import BrokenRuleError, Rule, require_symbol
from streamworkers.names import find_name_error

UNIVERSE_TYPES = ("ETF", "THEME", "SECTOR", "SEGMENT", "UNIVERSE", "CUSTOM")


def require_universe_name(name: str) -> str:
    """Return the name unchanged. Raises BrokenRuleError if it breaks the rule of `streamworkers.names`."""
    if (problem := find_name_error("universe", name)) is not None:
        raise BrokenRuleError(Rule.BAD_NAME, problem)
    return name


def require_universe_type(type_name: str) -> str:
    """Return the type unchanged. Raises BadInputError for one that is not among the types."""
    if type_name not in UNIVERSE_TYPES:
        raise BadInputError(f"the type {type_name!r} is not one of {', '.join(UNIVERSE_TYPES)}")
    return type_name


def list_universes(connection: psycopg.Connection) -> list[tuple[str, str, str, int]]:
    """Return (name, type, description, number of symbols) of every universe, by name and type."""
    return connection.execute(
        """
        SELECT g.name, g.type, g.description, count(m.symbol)
        FROM definition_groups g LEFT JOIN group_memberships m ON m.group_id = g.id
        GROUP BY g.id ORDER BY g.name, g.type
        """
    ).fetchall()


def parse_names(expression: str) -> list[str]:
    """Return the names in `sp500:nasdaq100`. Raises BadInputError if one is empty or malformed."""
    return [require_universe_name(name.strip()) for name in expression.split(":")]


def list_universe_names(connection: psycopg.Connection) -> list[str]:
    """Return the names of all universes."""
    return [name for (name,) in connection.execute("SELECT DISTINCT name FROM definition_groups ORDER BY name")]


def require_universes(expression: str, known: Collection[str]) -> None:
    """Raise UnknownNameError for a name in `sp500:nasdaq100` that is not known, BadInputError for a malformed one."""
    for name in parse_names(expression):
        if name not in known:
            raise UnknownNameError("universe", name, known)


def resolve(connection: psycopg.Connection, expression: str) -> tuple[str, ...]:
    """Return the symbols of `sp500:nasdaq100`: the distinct union of these universes, sorted by code point.

    A name that groups of several types share means all of them. Raises UnknownNameError for an unknown name,
    BadInputError for an empty or malformed one.
    """
    names = parse_names(expression)
    found = read_memberships(connection, names)
    for name in names:
        if name not in found:
            known = connection.execute("SELECT name FROM definition_groups").fetchall()
            raise UnknownNameError("universe", name, (name for (name,) in known))
    return union(found, names)


def read_memberships(connection: psycopg.Connection, names: Collection[str] | None = None) -> dict[str, frozenset[str]]:
    """Return the symbols of each of these universes that exists, or of all universes."""
    rows = connection.execute(
        """
        SELECT g.name, coalesce(array_agg(m.symbol) FILTER (WHERE m.symbol IS NOT NULL), '{}')
        FROM definition_groups g LEFT JOIN group_memberships m ON m.group_id = g.id
        WHERE %(names)s::text[] IS NULL OR g.name = ANY(%(names)s)
        GROUP BY g.name
        """,
        {"names": None if names is None else list(names)},
    ).fetchall()
    return {name: frozenset(symbols) for name, symbols in rows}


def find_members(connection: psycopg.Connection, symbols: Collection[str]) -> set[str]:
    """Return those of the symbols that any universe has."""
    rows = connection.execute("SELECT DISTINCT symbol FROM group_memberships WHERE symbol = ANY(%s)", (list(symbols),))
    return {symbol for (symbol,) in rows}


def list_members_with_prefix(connection: psycopg.Connection, prefix: str, limit: int) -> list[str]:
    """Return at most `limit` symbols of universes that begin with a prefix, in alphabetical order."""
    rows = connection.execute(
        "SELECT DISTINCT symbol FROM group_memberships WHERE starts_with(symbol, %s) ORDER BY symbol LIMIT %s",
        (prefix, limit),
    )
    return [symbol for (symbol,) in rows]


def read_weights(connection: psycopg.Connection, name: str, type_name: str) -> dict[str, str | None]:
    """Return the weight of each symbol of one universe, as digits."""
    return dict(
        connection.execute(
            "SELECT m.symbol, m.weight::text FROM group_memberships m JOIN definition_groups g ON g.id = m.group_id"
            " WHERE g.name = %s AND g.type = %s",
            (name, type_name),
        ).fetchall()
    )


def union(members: Mapping[str, frozenset[str]], names: Collection[str]) -> tuple[str, ...]:
    """Return the distinct symbols of the named universes, sorted by code point."""
    return tuple(sorted(frozenset[str]().union(*(members[name] for name in names))))


def add_symbols(
    connection: psycopg.Connection, universe: str, symbols: Collection[str], *, type_name: str = "UNIVERSE"
) -> int:
    """Add symbols to a universe, creating it if needed; returns the number of new ones.

    Raises BadInputError for a name, type or symbol that breaks a rule, and adds nothing then.
    """
    require_universe_name(universe)
    require_universe_type(type_name)
    wanted = [require_symbol(symbol) for symbol in sorted(set(symbols))]
    with connection.transaction():
        group = ensure_group(connection, universe, type_name)
        return connection.execute(
            "INSERT INTO group_memberships (group_id, symbol) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            (group, wanted),
        ).rowcount


def ensure_group(connection: psycopg.Connection, name: str, type_name: str, description: str = "") -> int:
    """Return the id of a group, created if needed and locked to the end of the transaction.

    An empty description keeps the stored one.
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
