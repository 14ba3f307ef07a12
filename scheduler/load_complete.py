"""Publishes `data_load_complete` once for each run that loaded bars; our own listener starts the analysis."""

from collections.abc import Mapping, Sequence
from typing import Any

from scheduler.message import MAX_SYMBOLS
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import reports as ledger_reports
from streamworkers.engine.outcome import Event
from streamworkers.engine.redis.keys import DATA_LOAD_CHANNEL, DATA_LOAD_COMPLETE
from streamworkers.loading import LOAD_JOB

SCHEMA_VERSION = 1


def announce_loads(connection: Connection, job_id: str, runs: Sequence[Mapping[str, Any]]) -> None:
    """Put `data_load_complete` into the outbox for each of these runs that loaded bars and was not cancelled.

    The event names the job `load_job_id`, not `job_id`: the analysis is another job, identified by the event's id.
    """
    for row in runs:
        if row["job"] != LOAD_JOB or row["status"] not in ("COMPLETED", "COMPLETED_WITH_ERRORS"):
            continue
        run = ledger.load_run(connection, row["run_id"])
        assert run is not None
        loaded = [part for part in ledger_reports.sum_loaded_bars(connection, run) if part["symbols"]]
        symbols = list(dict.fromkeys(symbol for part in loaded for symbol in part["symbols"]))
        for start in range(0, len(symbols), MAX_SYMBOLS):
            payload = {
                "schema_version": SCHEMA_VERSION,
                "event_type": DATA_LOAD_COMPLETE,
                "load_job_id": job_id,
                "run_id": run.id,
                "status": row["status"].lower(),
                "symbols": symbols[start : start + MAX_SYMBOLS],
                "timeframes": [part["timeframe"] for part in loaded],
                "bars": {part["timeframe"]: part["bars"] for part in loaded},
                "failed": {part["timeframe"]: part["failed"] for part in loaded if part["failed"]},
                "run_analysis": bool(run.parameters.get("run_analysis", False)),
            }
            ledger.add_events(connection, [Event(DATA_LOAD_CHANNEL, payload)])
