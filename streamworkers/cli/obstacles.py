"""Why the items of a run will not be executed, as far as it can be seen, for the commands that start or show it."""

from collections.abc import Collection

import click

from streamworkers.cli.session import Session
from streamworkers.database import Connection
from streamworkers.engine import ledger
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.heartbeats import SupervisorStatus
from streamworkers.engine.redis.lanes import queue_of
from streamworkers.engine.redis.streams import Streams
from streamworkers.errors import ServiceUnreachableError


def read_heartbeats(session: Session) -> Collection[SupervisorStatus] | None:
    """Return the heartbeats of all supervisors; None if Redis does not answer."""
    try:
        with session.streams() as streams:
            return streams.inspector.read_heartbeats().values()
    except ServiceUnreachableError:
        return None


def warn_of_obstacle(connection: Connection, streams: Streams, run: Run) -> None:
    """Print on standard error what keeps workers from executing a run that is open and prepared."""
    print_obstacle(connection, streams.inspector.read_heartbeats().values(), run)


def print_obstacle(connection: Connection, heartbeats: Collection[SupervisorStatus] | None, run: Run) -> None:
    """Do it with the heartbeats of supervisors; without them only the job is looked for."""
    if not run.is_open or not run.is_prepared:
        return
    found = _find_queue_obstacle(heartbeats, run.queue) if heartbeats is not None else None
    if found := found or _find_job_obstacle(connection, run.job):
        click.echo(found, err=True)


def _find_queue_obstacle(heartbeats: Collection[SupervisorStatus], queue: str) -> str | None:
    if any(queue in supervisor.queues for supervisor in heartbeats):
        return None
    advice = "start one with `streamworkers worker`"
    if any(queue in supervisor.drained_queues for supervisor in heartbeats):
        advice = f"its workers are drained, see `streamworkers workers resume --queue {queue_of(queue)}`"
    return f"no worker reads queue {queue_of(queue)!r} now: {advice}"


def _find_job_obstacle(connection: Connection, job: str) -> str | None:
    """Return that no process of the pool has the job; None before the first one has recorded what it has."""
    if ledger.read_job_types(connection, job) or not ledger.read_job_types(connection):
        return None
    return f"no process of the pool has job {job!r}: restart the workers where its package is installed"
