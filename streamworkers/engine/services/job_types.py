"""Records which jobs this process has installed, for those who submit runs without the jobs' code."""

from importlib.metadata import version

from psycopg_pool import ConnectionPool

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import JobType
from streamworkers.engine.preparation import kind_of_items
from streamworkers.engine.registry import Registry


class JobTypeRecorder:
    """Keeps the rows of some jobs in `job_types`; processes with other jobs, or another release, keep theirs."""

    name = "job-types"
    interval_seconds = 60.0

    def __init__(self, pool: "ConnectionPool[Connection]", jobs: Registry) -> None:
        self._pool = pool
        self._types = list_job_types(jobs)
        self._release = version("streamworkers")
        self.scope = ",".join([self._release, *(each.schema_hash[:8] for each in self._types)])

    def run_once(self) -> float | None:
        """Record the jobs, and forget those that no process has had for long."""
        with self._pool.connection() as connection:
            ledger.record_job_types(connection, self._types, self._release)
            ledger.delete_old_job_types(connection)
        return None


def list_job_types(jobs: Registry) -> list[JobType]:
    """Return what others may know of these jobs."""
    return [
        JobType(
            *(job.name, job.queue, job.max_attempts, job.parameters.model_json_schema(), kind_of_items(job)),
            job.notifies_failure,
            job.needs_bars,
        )
        for _, job in sorted(jobs.items())
    ]
