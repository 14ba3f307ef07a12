"""Replaces the symbols of a universe, with a row in the audit log."""

from dataclasses import dataclass, field

import psycopg

from streamworkers.actor import Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.market.universes.store import ensure_group


@dataclass(slots=True)
class UniverseMembers:
    """What a universe is to have: the weight (digits or None) of each symbol. An empty description keeps its own."""

    description: str = ""
    weights: dict[str, str | None] = field(default_factory=dict)


def replace_members(
    connection: psycopg.Connection, name: str, type_name: str, wanted: UniverseMembers, actor: Actor
) -> tuple[int, int]:
    """Give a universe exactly these symbols; returns the numbers (added, removed). Names and symbols are checked."""
    with connection.transaction():
        identity = ensure_group(connection, name, type_name, wanted.description)
        symbols, weights = list(wanted.weights), list(wanted.weights.values())
        removed = connection.execute(
            "DELETE FROM group_memberships WHERE group_id = %s AND symbol <> ALL(%s)", (identity, symbols)
        ).rowcount
        connection.execute(
            """
            UPDATE group_memberships m SET weight = i.weight
            FROM unnest(%s::text[], %s::numeric[]) AS i (symbol, weight)
            WHERE m.group_id = %s AND m.symbol = i.symbol AND m.weight IS DISTINCT FROM i.weight
            """,
            (symbols, weights, identity),
        )
        added = connection.execute(
            """
            INSERT INTO group_memberships (group_id, symbol, weight)
            SELECT %s, i.symbol, i.weight FROM unnest(%s::text[], %s::numeric[]) AS i (symbol, weight)
            ON CONFLICT DO NOTHING
            """,
            (identity, symbols, weights),
        ).rowcount
        after = {"type": type_name, "symbols": len(symbols), "added": added, "removed": removed}
        record_change(connection, actor, AuditChange("universe.replace", "universe", name, after=after))
    return added, removed
