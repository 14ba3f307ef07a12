"""Removes one guarantee from every process with this folder on its path: negative controls of the chaos run.

Python imports a module of this name when it starts. `CHAOS_WITHOUT` says which guarantee.
"""

import json
import os
from collections.abc import Sequence
from datetime import datetime

import psycopg

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import ItemUpdate, Run
from streamworkers.engine.redis.leases import Leases
from streamworkers.engine.services.reconciler import Reconciler
from streamworkers.engine.worker import commit, executor, session


def _complete_unfenced(
    connection: Connection, run: Run, worker: str, started_at: datetime, updates: Sequence[ItemUpdate]
) -> set[int]:
    """`ledger.complete_items` without checking the item's state: every commit counts."""
    results = {update.seq: update.result for update in updates if update.result is not None}
    rows = connection.execute(
        "UPDATE run_items SET status = 'completed', attempt = %s, worker = %s, started_at = %s,"
        " finished_at = clock_timestamp(), result = %s::jsonb -> seq::text, error = NULL"
        " WHERE run_day = %s AND run_id = %s AND seq = ANY(%s) RETURNING seq",
        (
            updates[0].attempt,
            worker,
            started_at,
            json.dumps(results) if results else None,
            run.run_day,
            run.id,
            [update.seq for update in updates],
        ),
    )
    return {seq for (seq,) in rows}


def _reclaim_nothing(
    self: Leases,
    queue: str,
    owner: str,
    lease_ms: int,
    cursor: str,
    limit: int,
    *,
    charge: bool = True,
    latest_ms: int | None = None,
) -> tuple[str, int]:
    return "0-0", 0


def _reconcile_nothing(self: Reconciler) -> float | None:
    return None


def _take_for_an_outage(connection: Connection, error: BaseException) -> bool:
    """Take an error of any database for an outage of the pool's own, whose work is repeated without a charge."""
    return isinstance(error, psycopg.Error) or session.is_outage(connection, error)


def _require_nothing(connection: Connection) -> None: ...


match os.environ.get("CHAOS_WITHOUT"):
    case "fence":
        ledger.complete_items = _complete_unfenced
    case "reclaim":
        Leases.reclaim = _reclaim_nothing  # type: ignore[method-assign]
    case "reconciler":
        Reconciler.run_once = _reconcile_nothing  # type: ignore[method-assign]
    case "charge":
        executor.is_outage = _take_for_an_outage  # type: ignore[attr-defined]
    case "transaction":
        commit.require_open_transaction = _require_nothing  # type: ignore[attr-defined]
    case unknown:
        raise SystemExit(f"CHAOS_WITHOUT={unknown!r} is not one of fence, reclaim, reconciler, charge, transaction")
