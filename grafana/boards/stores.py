"""Redis and PostgreSQL: do they have room, and are they fast?"""

from grafana.columns import column, stat_field
from grafana.dashboard import Board
from grafana.layout import Section
from grafana.looks import DAY_AND_CLOCK, Look, above, below
from grafana.panels import About, Size, barchart, gauge, stat, table, timeseries
from grafana.queries import promql, promql_now, sql

# Each table with the table that it is a partition of, or with itself.
_PARTS = """
    WITH parts AS (
        SELECT c.oid, coalesce((SELECT inhparent FROM pg_inherits WHERE inhrelid = c.oid LIMIT 1), c.oid) AS root
        FROM pg_class c
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
    )
"""
_TABLES = (
    _PARTS
    + """
    SELECT root::regclass::text AS "table", sum(pg_total_relation_size(p.oid)) AS "bytes",
           sum(pg_indexes_size(p.oid)) AS "indexes", coalesce(sum(s.n_live_tup), 0) AS "rows",
           CASE WHEN sum(s.n_live_tup + s.n_dead_tup) >= 10000
               THEN sum(s.n_dead_tup)::double precision / sum(s.n_live_tup + s.n_dead_tup)
           END AS "dead share",
           count(*) - 1 AS partitions, max(greatest(s.last_vacuum, s.last_autovacuum)) AS "last vacuum",
           max(greatest(s.last_analyze, s.last_autoanalyze)) AS "last analyze"
    FROM parts p
    LEFT JOIN pg_stat_user_tables s ON s.relid = p.oid
    GROUP BY root
    ORDER BY 2 DESC
"""
)
_LARGEST = (
    _PARTS
    + """
    SELECT root::regclass::text AS "table", sum(pg_total_relation_size(oid)) AS "bytes"
    FROM parts
    GROUP BY root
    ORDER BY 2 DESC
    LIMIT 15
"""
)
_CONNECTIONS = """
    SELECT coalesce(nullif(application_name, ''), 'unnamed') AS program, count(*) AS connections
    FROM pg_stat_activity
    WHERE datname = current_database()
    GROUP BY 1
    ORDER BY 2 DESC
"""
_DATABASE = """
    SELECT coalesce(blks_hit::double precision / nullif(blks_hit + blks_read, 0), 0) AS "read from memory",
           coalesce(xact_rollback::double precision / nullif(xact_commit + xact_rollback, 0), 0) AS "rolled back"
    FROM pg_stat_database
    WHERE datname = current_database()
"""
_TROUBLE = """
    SELECT deadlocks, conflicts, temp_files AS "spilled to disk"
    FROM pg_stat_database
    WHERE datname = current_database()
"""
_LEDGER = """
    SELECT (SELECT count(*) FROM outbox) AS "events",
           (SELECT count(*) FROM rejected_entries) AS "rejected"
"""


def _redis() -> Section:
    memory = "max(streamworkers_redis_memory_bytes)"
    limit = "max(streamworkers_redis_max_memory_bytes)"
    return Section(
        1,
        "Has Redis room, and is it fast?",
        [
            gauge(
                About(
                    11,
                    "Memory in use",
                    "How much of its memory limit does Redis use (0 without a limit)? Over 80 %, drain the queues or"
                    " raise `maxmemory`; a full Redis rejects every enqueue.",
                ),
                [promql_now(f"{memory} / ({limit} > 0) or vector(0)", "of its limit")],
                Look(unit="percentunit", minimum=0, maximum=1, thresholds=above(0.7, 0.8)),
                Size(6, 8),
            ),
            timeseries(
                About(
                    12,
                    "Memory",
                    "Does Redis grow? It holds the backlog, a few hundred bytes an item: growth without a backlog comes"
                    " from another program.",
                ),
                [promql(memory, "used"), promql(f"{limit} > 0", "limit")],
                Look(unit="bytes", minimum=0),
                Size(9, 8),
            ),
            timeseries(
                About(
                    13,
                    "Commands",
                    "How busy is Redis? An idle pool sends about ten commands a second; thousands without items mean"
                    " that a client loops.",
                ),
                [promql("max(rate(streamworkers_redis_commands_total[$__rate_interval]))", "commands")],
                Look(unit="ops", minimum=0),
                Size(9, 8),
            ),
            timeseries(
                About(
                    14,
                    "Connections and supervisors",
                    "How many clients are connected? If connections grow and supervisors do not, a client leaks them.",
                ),
                [
                    promql("max(streamworkers_redis_connections)", "connections"),
                    promql("max(streamworkers_supervisors)", "supervisors"),
                ],
                Look(unit="short", decimals=0, minimum=0),
                Size(12, 7),
            ),
            timeseries(
                About(
                    15,
                    "Slow calls",
                    "How many commands took longer than `slowlog-log-slower-than`? List them with `SLOWLOG GET 10`.",
                ),
                [promql("max(streamworkers_redis_slow_calls)", "in SLOWLOG")],
                Look(unit="short", decimals=0, minimum=0, thresholds=above(10, 100)),
                Size(12, 7),
            ),
        ],
    )


def _postgres() -> Section:
    used = "max(streamworkers_postgres_connections)"
    most = "max(streamworkers_postgres_max_connections)"
    return Section(
        2,
        "Has PostgreSQL room, and is it fast?",
        [
            gauge(
                About(
                    21,
                    "Connections in use",
                    "How many of the connections are in use? Over 80 %, run fewer workers on a server, or a pooler.",
                ),
                [promql_now(f"{used} / {most}", "of the maximum")],
                Look(unit="percentunit", minimum=0, maximum=1, thresholds=above(0.7, 0.8)),
                Size(6, 8),
            ),
            timeseries(
                About(
                    22,
                    "Connections",
                    "Does the number of connections follow the number of workers? If it only grows, a client leaks"
                    " them.",
                ),
                [promql(used, "used"), promql(most, "maximum")],
                Look(unit="short", decimals=0, minimum=0),
                Size(9, 8),
            ),
            timeseries(
                About(
                    23,
                    "Transactions",
                    "How busy is the database? A drop while items wait means that it is slow or locked.",
                ),
                [promql("max(rate(streamworkers_postgres_transactions_total[$__rate_interval]))", "transactions")],
                Look(unit="ops", minimum=0),
                Size(9, 8),
            ),
            barchart(
                About(
                    24,
                    "Connections by program",
                    "Which programs hold the connections? The names are those of `application_name`.",
                ),
                [sql(_CONNECTIONS)],
                Look(unit="short", decimals=0),
                Size(6, 7),
                x="program",
            ),
            stat(
                About(
                    25,
                    "Cache hits and rollbacks",
                    "Does the working set fit into memory, and how much is rolled back? If less than 95 % is read from"
                    " memory, raise `shared_buffers`.",
                ),
                [sql(_DATABASE)],
                Look(
                    unit="percentunit",
                    decimals=2,
                    columns=(stat_field("read from memory", below(0.9, 0.95)),),
                ),
                Size(6, 7),
            ),
            stat(
                About(
                    26,
                    "Deadlocks and spills",
                    "Were there deadlocks, or sorts too large for memory, since the statistics were reset? The pool"
                    " repeats a deadlocked transaction; report it if there are many.",
                ),
                [sql(_TROUBLE)],
                Look(unit="short", decimals=0),
                Size(6, 7),
            ),
            stat(
                About(
                    27,
                    "Outbox and rejected entries",
                    "How many events wait to be published, and how many rejected entries are kept? See `streamworkers"
                    " rejected list`.",
                ),
                [sql(_LEDGER)],
                Look(unit="short", decimals=0),
                Size(6, 7),
            ),
        ],
    )


def _pools() -> Section:
    requests = "sum by (outcome) (rate(streamworkers_db_pool_requests_total[$__rate_interval]))"
    mean = (
        "sum(rate(streamworkers_db_pool_wait_seconds_total[$__rate_interval]))"
        " / (sum(rate(streamworkers_db_pool_requests_total[$__rate_interval])) > 0)"
    )
    return Section(
        3,
        "Database connection pools of supervisors and schedulers",
        [
            timeseries(
                About(
                    31,
                    "Connections, and requests that wait",
                    "Is the connection pool of a process exhausted? If requests wait and none is idle, PostgreSQL is"
                    " slow.",
                ),
                [
                    promql("sum by (state) (streamworkers_db_pool_connections)", "{{state}}"),
                    promql("sum(streamworkers_db_pool_requests_waiting)", "waiting requests"),
                ],
                Look(unit="short", decimals=0, minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    32,
                    "Requests",
                    "Do requests for a connection fail? Background services then stop working: see the logs.",
                ),
                [promql(requests, "{{outcome}}")],
                Look(unit="ops", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    33,
                    "Mean wait for a connection",
                    "How long does a request wait for a connection? Milliseconds are normal.",
                ),
                [promql(mean, "wait")],
                Look(unit="s", minimum=0, thresholds=above(0.1, 1)),
                Size(8, 8),
            ),
        ],
        collapsed=True,
    )


def _sizes() -> Section:
    written = "max by (table) (rate(streamworkers_table_rows_written_total[$__rate_interval]))"
    columns = (
        column("bytes", "bytes", width=90),
        column("indexes", "bytes", width=90),
        column("rows", width=80),
        column("dead share", "percentunit", width=80, steps=above(0.2, 0.4)),
        column("partitions", width=85),
        column("last vacuum", DAY_AND_CLOCK, width=115),
        column("last analyze", DAY_AND_CLOCK, width=115),
    )
    return Section(
        4,
        "What grows?",
        [
            timeseries(
                About(
                    41,
                    "Size of the database",
                    "When will the disk be full at this pace? For sizing, see docs/guides/operations.md.",
                ),
                [promql("max(streamworkers_postgres_size_bytes)", "database")],
                Look(unit="bytes", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    42,
                    "Size of tables",
                    "Which of the largest tables grows? Results and items are removed after their retention: does"
                    " `database_cleanup` run?",
                ),
                [promql("topk(8, max by (table) (streamworkers_table_bytes))", "{{table}}")],
                Look(unit="bytes", minimum=0),
                Size(8, 8),
            ),
            timeseries(
                About(
                    43,
                    "Rows written",
                    "How many rows are written to which table? Bars without results mean that the analysis does not"
                    " run.",
                ),
                [promql(f"topk(8, {written})", "{{table}}")],
                Look(unit="wps", minimum=0),
                Size(8, 8),
            ),
            barchart(
                About(44, "Largest tables", "Which tables are largest, with their partitions and indexes?"),
                [sql(_LARGEST)],
                Look(unit="bytes"),
                Size(7, 10),
                x="table",
            ),
            table(
                About(
                    45,
                    "Tables",
                    "Does vacuum keep up? Many dead rows and an old vacuum mean that a transaction holds it back.",
                ),
                [sql(_TABLES)],
                Look(unit="short", columns=columns),
                Size(17, 10),
            ),
        ],
    )


def _faults() -> Section:
    names = "{{store}} {{kind}} {{instance}}"
    return Section(
        5,
        "Do they keep anything from working?",
        [
            timeseries(
                About(
                    51,
                    "Faults",
                    "How many loops and workers of a process can do nothing now? Rejected calls, a full store and a"
                    " loop that keeps failing need somebody: `streamworkers doctor` names right, limit or error.",
                ),
                [
                    promql("max by (store, kind, instance) (streamworkers_store_faults) > 0", names),
                    promql("max by (loop, instance) (streamworkers_loops_failing) > 0", "{{loop}} fails {{instance}}"),
                ],
                Look(unit="short", decimals=0, minimum=0, no_value="no fault"),
                Size(12, 5),
            ),
            timeseries(
                About(
                    52,
                    "Workers that hold",
                    "How many workers have waited for a store for longer than a lease? Of one machine alone: it cannot"
                    " reach what the others can.",
                ),
                [promql("max by (store, kind, instance) (streamworkers_workers_holding) > 0", names)],
                Look(unit="short", decimals=0, minimum=0, no_value="no worker holds"),
                Size(12, 5),
            ),
        ],
    )


def board() -> Board:
    """The board, from the pool's own metrics and from SQL."""
    return Board(
        uid="streamworkers-stores",
        title="Redis and PostgreSQL",
        description="Do Redis and PostgreSQL have room, and are they fast?",
        sections=[_faults(), _redis(), _postgres(), _sizes(), _pools()],
        since="now-6h",
    )
