"""Digests of all tables that a job may write to, to tell which of them have changed."""

from collections.abc import Collection, Mapping

from psycopg import sql

from streamworkers.database import Connection

# What the pool itself writes while it executes and closes items.
_TABLES = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
      AND c.relname !~ '^(runs|run_items.*|run_events|enqueued_(totals|counts)|submissions|job_types|outbox'
                       '|processes|process_states|rejected_entries|installation)$'
    ORDER BY 1, 2
"""
_DIGEST = sql.SQL("SELECT {}, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM {} t")
TableDigest = tuple[int, str]


def read_digests(connection: Connection, left_out: Collection[str] = ()) -> dict[str, TableDigest]:
    """Return the number of rows and a digest of their values, by table, in one snapshot."""
    tables = [(schema, table) for schema, table in connection.execute(_TABLES) if table not in left_out]
    parts = [
        _DIGEST.format(sql.Literal(table if schema == "public" else f"{schema}.{table}"), sql.Identifier(schema, table))
        for schema, table in tables
    ]
    rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)) if parts else ()
    return {name: (count, digest) for name, count, digest in rows}


def name_changes(before: Mapping[str, TableDigest], after: Mapping[str, TableDigest]) -> str:
    """Return which tables have changed, with their numbers of rows; '' for none."""
    changes = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, (0, "0")), after.get(name, (0, "0"))
        if old == new:
            continue
        rows = f"{old[0]} rows before, {new[0]} after" if old[0] != new[0] else f"other values in {new[0]} rows"
        changes.append(f"{name} ({rows})")
    return ", ".join(changes)
