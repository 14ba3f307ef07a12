"""What PostgreSQL's catalogue says of a database: who has which right, and what is in its tables."""

from psycopg import sql

from streamworkers.database import Connection

Right = tuple[str, str, str, str, bool]

# An object without a list of its own has the rights that PostgreSQL gives by default.
_RIGHTS = """
WITH lists (kind, name, owner, acl) AS (
    SELECT 'schema', nspname::text, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE nspname = 'public'
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, relname, relowner,
           coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'column', format('%s.%s', relname, attname), relowner, attacl
    FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND attacl IS NOT NULL
    UNION ALL
    SELECT CASE WHEN prosecdef THEN 'function with the owner''s rights ' || proconfig::text ELSE 'function' END,
           p.oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'later', format('%s of schema %s', defaclobjtype, nspname), defaclrole, defaclacl
    FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace
)
SELECT kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' WHEN owner THEN 'owner' ELSE grantee::regrole::text END,
       privilege_type, is_grantable
FROM lists, aclexplode(acl)
"""


def read_rights(connection: Connection) -> set[Right]:
    """Each right to an object of the schema, and to those to come: kind, name, who, what, and whether to pass on."""
    return set(connection.execute(_RIGHTS).fetchall())


def read_contents(connection: Connection) -> dict[str, tuple[int, str | None]]:
    """How many rows each table has, and a digest of them."""
    names = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
    ).fetchall()
    found = {}
    for (name,) in names:
        statement = sql.SQL("SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM {} t")
        [row] = connection.execute(statement.format(sql.Identifier(name))).fetchall()
        found[name] = row
    return found
