"""What tests of submitted runs share: requests as any client sends them, and a preparer without its loop."""

import json
from typing import Any

from psycopg_pool import ConnectionPool

from scheduling import end_runs
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.job_types import list_job_types
from streamworkers.engine.services.preparer import Preparer
from streamworkers.market.targets import MarketTargets

LEASE_SECONDS = 30.0


def install_jobs(connection: Connection, registry: Registry) -> None:
    """Record the jobs, as every process of the pool does at its start."""
    ledger.record_job_types(connection, list_job_types(registry), "test")


def submit(connection: Connection, job: str, **fields: Any) -> int:
    """Submit a run as a client without any of our code does; returns its id."""
    row = connection.execute("SELECT id FROM submit_run(%s::jsonb)", (json.dumps({"job": job, **fields}),)).fetchone()
    assert row is not None
    return int(row[0])


def make_preparer(
    pool: "ConnectionPool[Connection]", streams: Streams, registry: Registry, lease_seconds: float = LEASE_SECONDS
) -> Preparer:
    """A preparer of all jobs."""
    return Preparer(pool, streams, registry, MarketTargets(), lease_seconds, ServiceMetrics())


def load(connection: Connection, run_id: int) -> Run:
    """The run, which exists."""
    run = ledger.load_run(connection, run_id)
    assert run is not None
    return run


def reason_of(connection: Connection, run_id: int) -> tuple[str, str | None]:
    """The state of a run, and why it ended without items."""
    row = connection.execute("SELECT status, reason FROM runs WHERE id = %s", (run_id,)).fetchone()
    assert row is not None
    return row[0], row[1]


def make_claims_end(connection: Connection) -> None:
    """Let the time of every claim be over, instead of waiting for it."""
    connection.execute("UPDATE runs SET prepare_after = clock_timestamp() WHERE prepare_after IS NOT NULL")


def end_submitted_runs(connection: Connection, status: str = "COMPLETED") -> None:
    """End all open runs as if they had been prepared and executed."""
    connection.execute(
        "UPDATE runs SET prepared_at = clock_timestamp(), request = NULL, prepare_after = NULL"
        " WHERE prepared_at IS NULL"
    )
    end_runs(connection, status)
