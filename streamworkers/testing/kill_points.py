"""The points between the engine's steps at which a worker can be killed, in the worker's process.

`arm` is called by `in_processes/sitecustomize.py` alone, in the process from which workers are forked; they inherit it.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamworkers.engine import ledger
from streamworkers.engine.ledger import Completions, Run
from streamworkers.engine.outside import calling
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.worker import commit, executor
from streamworkers.engine.worker.call_log import add_call_fields
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.unfinished import Call
from streamworkers.testing.killing import call_after, call_before, die_once

VARIABLE = "SW_TESTING_KILL"


def arm() -> None:
    """Arrange for the death that the environment asks for, if it asks for one."""
    if VARIABLE in os.environ:
        order = json.loads(os.environ[VARIABLE])
        _Victim(Path(order["mark"]), order["job"]).arm(order["point"])


class _Victim:
    """Dies at a point of a job's work; without a job, of any."""

    def __init__(self, mark: Path, job: str | None) -> None:
        self._mark, self._job = mark, job

    def arm(self, point: str) -> None:
        """Put the death where the point is in the engine's code."""
        match point:
            case "prepare-execute":
                call_before(executor, "execute_batch", self._at_call)
            case "execute-save":
                call_after(executor, "execute_batch", lambda _, *words: self._at_call(*words))
            case "save-commit":
                call_after(commit, "_save", lambda _, __, run, *___: self._at_run(run))
                # A job without anything to save has its items closed here, in a transaction that is not committed yet.
                call_after(ledger, "complete_items_of_runs", lambda _, __, ___, batches: self._at_batches(batches))
            case "commit-acknowledge":
                call_before(BatchCommitter, "add_committed", lambda _, run, __, moved, ___: self._at_moved(run, moved))
            case "claim-call":
                call_after(calling, "_claim", lambda found, *_: self._at_outside(found[0]))
            case "call-record":
                call_before(calling, "_record", lambda _, __, called, *___: self._at_outside(called))
            case _:
                raise ValueError(f"{point!r} is not a point between two steps")

    def _at_call(self, call: Call, batch: Sequence[Entry]) -> None:
        self._die(call.run.job, f"run {call.run.id}, {', '.join(entry.symbol for entry in batch)}")

    def _at_run(self, run: Run) -> None:
        self._die(run.job, f"run {run.id}")

    def _at_batches(self, batches: Sequence[Completions]) -> None:
        for batch in batches:
            self._at_run(batch.run)

    def _at_moved(self, run: Run, moved: set[int]) -> None:
        if moved:
            self._at_run(run)

    def _at_outside(self, call: Any) -> None:
        if call is not None:
            self._die(str(add_call_fields(None, "", {}).get("job", "")), str(call.thing))

    def _die(self, job: str, what: str) -> None:
        if self._job in (None, job):
            die_once(self._mark, f"{job}: {what}")
