"""Gives submitted runs their items: calls their jobs' `prepare`, writes the items, and adds the entries.

Runs that wait for a moment or for other runs are looked at when they may be ready (`ledger.check_waiting_runs`).

A claim is committed first, then user code runs outside of any transaction, then one transaction writes what it made of
all claimed runs. A preparer that dies before that transaction leaves a claim that ends; after it, the reconciler adds
the entries. A run whose `prepare` fails is prepared again on its own, a few times, and has then failed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import psycopg
from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import finish_enqueue, finish_small_runs
from streamworkers.engine.host.loop import follow_channels
from streamworkers.engine.host.metrics import ServiceMetrics
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import ClaimedRun, PreparedRun, Run
from streamworkers.engine.preparation import has_own_prepare, prepare_request
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.worker.session import guard_user_code, is_outage, outage_of, reset_session, restore_connection
from streamworkers.errors import BadInputError, PrepareError, RedisUnavailableError, UsageError
from streamworkers.faults import describe, find_fault, printable
from streamworkers.logger import get_logger

log = get_logger()
CLAIM_LIMIT = 500
CHECK_LIMIT = 500
ITEM_LIMIT = 20_000
MOST_ATTEMPTS = 4
_RETRY_SECONDS = 1.0
_STEP_SECONDS = 5.0


class Targets(Protocol):
    """What the engine does not know: the symbols of a universe, and the names of timeframes.

    Both raise UsageError for a name that does not exist.
    """

    def resolve(self, connection: Connection, universe: str) -> tuple[str, ...]:
        """Return the symbols of a universe."""

    def name_timeframe(self, text: str) -> str:
        """Return the name of a timeframe."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """What went wrong with a claimed run; `is_final` if another attempt cannot succeed."""

    claim: ClaimedRun
    reason: str
    is_final: bool


class Preparer:
    """The preparer of some jobs."""

    name = "preparer"
    interval_seconds = 1.0

    def __init__(
        self,
        pool: "ConnectionPool[Connection]",
        streams: Streams,
        jobs: Registry,
        targets: Targets,
        lease_seconds: float,
        metrics: ServiceMetrics,
    ) -> None:
        self.scope = ",".join(sorted(jobs))
        self._pool = pool
        self._streams = streams
        self._jobs = jobs
        self._names = sorted(jobs)
        self._targets = targets
        self._lease_seconds = lease_seconds
        self._metrics = metrics
        self._claims: dict[int, ClaimedRun] = {}

    def run_once(self) -> float | None:
        """Prepare what waits, for some seconds at most; returns 0 while there is more."""
        deadline = time.monotonic() + _STEP_SECONDS
        with self._pool.connection() as connection:
            # What this process had claimed when a service went away is not charged with that.
            ledger.release_claims(connection, self._claims.values())
            self._claims.clear()
            while time.monotonic() < deadline:
                checked = ledger.check_waiting_runs(connection, CHECK_LIMIT)
                if checked.ready or checked.cancelled:
                    log.info("waiting_runs_checked", ready=checked.ready, cancelled=checked.cancelled)
                claims = ledger.claim_submitted(connection, self._names, CLAIM_LIMIT, self._lease_seconds)
                if not claims and checked.taken < CHECK_LIMIT:
                    return None
                self._claims = {claim.id: claim for claim in claims}
                self._prepare_all(connection, claims)
        return 0.0

    def _prepare_all(self, connection: Connection, claims: Sequence[ClaimedRun]) -> None:
        """Prepare claimed runs, a portion at a time, well within the lease; release those for which no time is left."""
        deadline = time.monotonic() + self._lease_seconds / 3
        portion: list[PreparedRun] = []
        items = 0
        for claim in claims:
            if time.monotonic() >= deadline:
                break
            match self._prepare_one(connection, claim):
                case PreparedRun() as prepared:
                    portion.append(prepared)
                    items += prepared.request.item_count
                    if items >= ITEM_LIMIT:
                        self._write(connection, portion)
                        portion, items = [], 0
                case failed:
                    self._record_failure(connection, failed)
        self._write(connection, portion)
        ledger.release_claims(connection, self._claims.values())
        self._claims.clear()

    def _prepare_one(self, connection: Connection, claim: ClaimedRun) -> PreparedRun | _Failed:
        """Return what the job makes of a claimed run. Raises what is transient, such as an outage of PostgreSQL."""
        if claim.attempt > MOST_ATTEMPTS:
            return _Failed(claim, f"prepare was called {MOST_ATTEMPTS} times and never returned", is_final=True)
        job = self._jobs[claim.job]
        try:
            request = self._resolve(connection, claim.to_request())
            with self._guard(connection) if has_own_prepare(job) else nullcontext():
                prepared = prepare_request(connection, job, request)
            return PreparedRun(claim, prepared, job.lane_of(prepared), job.max_attempts)
        except UsageError as error:
            return _Failed(claim, printable(str(error)), is_final=True)
        except (Exception, SystemExit) as error:  # not our code
            if is_outage(connection, error):
                raise outage_of(error) from error
            log.warning("prepare_failed", run=claim.id, job=claim.job, attempt=claim.attempt, exc_info=error)
            reason = str(error) if isinstance(error, PrepareError) else f"prepare: {describe(error)}"
            return _Failed(claim, reason, is_final=claim.attempt >= MOST_ATTEMPTS)

    def _resolve(self, connection: Connection, request: RunRequest) -> RunRequest:
        symbols = request.symbols
        if request.universe is None and request.timeframe is None and not request.timeframes:
            return request
        if request.universe is not None:
            symbols = self._targets.resolve(connection, request.universe)
            if not symbols:
                raise BadInputError(f"universe {request.universe!r} has no symbols")
        timeframe = request.timeframe and self._targets.name_timeframe(request.timeframe)
        timeframes = tuple(self._targets.name_timeframe(each) for each in request.timeframes)
        return replace(request, symbols=symbols, timeframe=timeframe, timeframes=timeframes)

    @contextmanager
    def _guard(self, connection: Connection) -> Iterator[None]:
        """Limit what a `prepare` of a job's own can do to the connection, and how long its statements take."""
        limit = str(round(self._lease_seconds / 3 * 1000))
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (limit,))
        try:
            with guard_user_code(connection):
                yield
        finally:
            restore_connection(connection)
            if not connection.closed:
                reset_session(connection)

    def _write(self, connection: Connection, portion: Sequence[PreparedRun]) -> None:
        """Write what was prepared; if that fails for several runs, write each on its own."""
        if not portion:
            return
        try:
            runs = ledger.record_prepared(connection, portion)
        except psycopg.Error as error:
            if find_fault(error) is not None or connection.closed:
                raise
            if len(portion) > 1:
                for prepared in portion:
                    self._write(connection, [prepared])
                return
            claim = portion[0].claim
            reason = f"the prepared run cannot be stored: {describe(error)}"
            self._record_failure(connection, _Failed(claim, reason, is_final=claim.attempt >= MOST_ATTEMPTS))
            return
        for prepared in portion:
            del self._claims[prepared.claim.id]
        for run, _ in runs:
            self._metrics.runs_prepared.labels(run.job, "prepared" if run.item_count else "empty").inc()
        log.info("runs_prepared", runs=len(runs), items=sum(run.item_count for run, _ in runs))
        self._add_entries(connection, [(run, request) for run, request in runs if run.item_count])

    def _add_entries(self, connection: Connection, runs: Sequence[tuple[Run, RunRequest]]) -> None:
        """Add the entries of runs that are written; if Redis is away, the reconciler does it later."""
        try:
            finish_small_runs(connection, self._streams, [each for each in runs if each[0].is_small])
            for run, _ in runs:
                if not run.is_small:
                    finish_enqueue(connection, self._streams, run, ledger.iterate_open_items(connection, run))
        except RedisUnavailableError as error:
            log.warning("enqueue_deferred", runs=len(runs), error=describe(error))

    def _record_failure(self, connection: Connection, failed: _Failed) -> None:
        claim = self._claims.pop(failed.claim.id)
        if not failed.is_final:
            ledger.retry_later(connection, claim, _RETRY_SECONDS * 2 ** (claim.attempt - 1))
            self._metrics.runs_prepared.labels(claim.job, "retried").inc()
        elif ledger.reject_submitted(connection, claim, failed.reason):
            self._metrics.runs_prepared.labels(claim.job, "rejected").inc()
            log.warning("run_rejected", run=claim.id, job=claim.job, reason=failed.reason)


def follow_submissions(
    connect: Callable[[], Connection], wake: Callable[[], None], keep_going: Callable[[], bool]
) -> None:
    """Call `wake` for each commit that submits runs, until `keep_going()` is false or the connection is lost."""
    follow_channels(connect, {ledger.SUBMITTED_NOTIFY: wake}, keep_going)
