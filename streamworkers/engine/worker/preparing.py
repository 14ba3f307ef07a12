"""Prepares the calls of a run: its job, its parameters, its batches. What this release cannot execute is deferred."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.job import Job, JobParameters
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.engine.worker.delivered import OTHER_RELEASE_SECONDS
from streamworkers.engine.worker.handler import split_batches
from streamworkers.engine.worker.session import LendingContext
from streamworkers.engine.worker.unfinished import Call
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()
_CANCELLED_CHECK_SECONDS = 1.0
_NO_PARAMETERS = JobParameters()
ShouldStop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class CallPreparer:
    """Prepares calls; `parameters` are those of runs that were validated before."""

    registry: Registry
    committer: BatchCommitter
    parameters: dict[int, JobParameters]

    def prepare(
        self, connection: Connection, run: Run, entries: Sequence[Entry], should_stop: ShouldStop
    ) -> Iterator[tuple[Call, Sequence[Entry], bool]]:
        """Yield the batches to execute, and whether each is the last, until `should_stop`.

        What this release cannot execute is deferred.
        """
        if not entries:
            return
        if run.job not in self.registry:
            self._defer(
                run, entries, f"this worker has loaded no job {run.job!r}: restart it where the package is installed"
            )
            return
        job = self.registry[run.job]
        call: Call | None = None
        batches = list(split_batches(entries, job.batch_size, job.keeps_keys_together))
        for number, batch in enumerate(batches, 1):
            if should_stop():
                return
            call = call or self._prepare_call(connection, run, job, batch)
            if call is not None:
                yield call, batch, number == len(batches)

    def _prepare_call(self, connection: Connection, run: Run, job: Job[Any], batch: Sequence[Entry]) -> Call | None:
        parameters = self.parameters.get(run.id)
        if parameters is None and job.parameters is JobParameters and not run.parameters:
            parameters = _NO_PARAMETERS
        if parameters is None:
            # The validators are the job's code: the process may die of them as it may of the handler.
            entry_ids = [entry.entry_id for entry in batch]
            self.committer.reporter.call_started(run.queue, None, entry_ids, job.timeout_seconds)
            try:
                parameters = job.parameters.model_validate(run.parameters)
            except Exception as error:  # noqa: BLE001  # not our code
                self._defer(run, batch, describe(error))
                return None
            self.parameters[run.id] = parameters
        streams = self.committer.streams
        context = LendingContext(
            run.id,
            run.timeframe,
            run.as_of,
            parameters,
            connection,
            streams.rate_limiter,
            streams.inspector,
            _cancelled_check(connection, run.id),
        )
        return Call(run, job, context, connection)

    def _defer(self, run: Run, entries: Sequence[Entry], reason: str) -> None:
        log.warning("run_deferred", run=run.id, job=run.job, reason=reason)
        self.committer.defer(run, entries, OTHER_RELEASE_SECONDS)


def _cancelled_check(connection: Connection, run_id: int) -> Callable[[], bool]:
    """Return a function that is true once the run was cancelled; it asks the ledger at most once a second."""
    cancelled, asked_at = False, float("-inf")

    def is_cancelled() -> bool:
        nonlocal cancelled, asked_at
        if not cancelled and time.monotonic() - asked_at >= _CANCELLED_CHECK_SECONDS:
            run = ledger.load_run(connection, run_id)
            cancelled, asked_at = run is None or run.status == "CANCELLED", time.monotonic()
        return cancelled

    return is_cancelled
