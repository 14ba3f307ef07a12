"""Partitions, counts and consumers are tidied up."""

from psycopg_pool import ConnectionPool

from harness import start_run
from streamworkers.config import Settings
from streamworkers.database import Connection, fetch_value
from streamworkers.engine.ledger.reports import read_enqueued_totals
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.pruner import Pruner


def test_the_counts_of_runs_are_moved_to_the_totals_of_their_jobs(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry
) -> None:
    total = [(("tests", "ledger_entry"), 3)]
    for symbols in (["A", "B"], ["A"]):
        start_run(connection, streams, registry, "ledger_entry", *symbols)
    assert read_enqueued_totals(connection) == total
    Pruner(pool, streams, ["tests"], set).run_once()
    assert read_enqueued_totals(connection) == total
    assert fetch_value(connection, "SELECT items_enqueued FROM enqueued_totals") == 3
    assert fetch_value(connection, "SELECT count(*) FROM enqueued_counts") == 0


def test_partitions_are_made_ahead_and_consumers_of_gone_workers_removed(
    connection: Connection, pool: "ConnectionPool[Connection]", streams: Streams, settings: Settings
) -> None:
    streams.queues.ensure_groups(["tests"])
    for name in ("gone.1", "alive.1", "gone.2"):
        streams.queues.add("tests", 1, [b"x"])
        (delivery,) = streams.queues.read(["tests"], name, 1, 1)
        if name != "gone.2":
            streams.queues.discard("tests", [delivery.entry_id])
    pruner = Pruner(pool, streams, ["tests"], lambda: {"alive"})
    pruner.run_once()
    assert streams.inspector.read_consumers("tests") == {"alive.1": 0, "gone.2": 1}
    row = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'run_items'::regclass").fetchone()
    assert row == (8,)
