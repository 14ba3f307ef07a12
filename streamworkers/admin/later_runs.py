"""Submits a run that starts later or has a webhook, from a process that has its job."""

from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

from psycopg import errors

from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import describe_request, submit_described
from streamworkers.engine.job import RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.preparation import check_request
from streamworkers.engine.registry import Registry
from streamworkers.engine.services.job_types import list_job_types


def submit_later(
    connection: Connection, registry: Registry, request: RunRequest, *, note: Callable[[Run, bool], None]
) -> tuple[Run, bool]:
    """Submit a run that starts later or has a webhook, after the checks of `enqueue`; returns what `enqueue` does.

    `note` is called in the run's transaction. Raises what `enqueue` raises.
    """
    job = registry[request.job]
    check_request(job, request)
    described = describe_request(replace(request, idempotency_key=None))
    with connection.transaction():
        # This process has the job, so the run is sound, whether or not a process of the pool has run since.
        if not ledger.read_job_types(connection, job.name):
            ledger.record_job_types(connection, list_job_types(Registry([job])), version("streamworkers"))
        try:
            with connection.transaction():
                (made,) = submit_described(connection, [described])
                if request.idempotency_key is not None:
                    ledger.give_key(connection, made.id, request.idempotency_key, described)
            run, is_new = ledger.load_run(connection, made.id), True
        except errors.UniqueViolation:
            run, is_new = ledger.find_by_key(connection, request, described), False
        assert run is not None
        note(run, is_new)
    return run, is_new
