"""`streamworkers worker`."""

from contextlib import closing

import click

from streamworkers.cli.session import Number, Seconds, Session
from streamworkers.config import Settings
from streamworkers.engine.host.start import wait_for_stores
from streamworkers.engine.ledger.orders import MOST_PROCESSES
from streamworkers.engine.redis.lanes import list_lanes
from streamworkers.engine.registry import installed_jobs
from streamworkers.engine.supervisor.child import Limits, Silence
from streamworkers.engine.supervisor.options import SupervisorOptions
from streamworkers.engine.supervisor.slots import plan_slots
from streamworkers.engine.supervisor.supervisor import Supervisor
from streamworkers.errors import BadInputError
from streamworkers.hooks import load_hook_classes
from streamworkers.logs import configure_logs
from streamworkers.market.targets import MarketTargets


@click.command(short_help="Start a supervisor with worker processes.")
@click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    default=2,
    show_default=True,
    help="Worker processes to start.",
)
@click.option(
    "--queue",
    "queues",
    multiple=True,
    metavar="NAME[=N]",
    help="NAME=N: N of the processes read only this queue. NAME: the other processes read only"
    " queues given like this.  [default: all queues]",
)
@click.option("--max-items", type=click.IntRange(1), help="Replace a worker after this many items.")
@click.option(
    "--max-memory-mb",
    type=Number(32),
    help="Kill and replace a worker that uses more memory; what it shares with the others does not count.",
)
@click.option("--grace-seconds", type=Seconds(0), help="Seconds after SIGTERM to finish the current batches.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics, /livez and /readyz; 0 picks a free one."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address to serve them on.")
def worker(
    processes: int,
    queues: tuple[str, ...],
    max_items: int | None,
    max_memory_mb: float | None,
    grace_seconds: float | None,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Start a supervisor with worker processes. It runs until SIGTERM or Ctrl-C."""
    session = Session.open()
    settings = session.settings
    configure_logs(settings.log_level, settings.log_format)
    registry = installed_jobs()
    wanted = _parse_queues(queues, registry.queues)

    def plan(number: int) -> list[list[str]]:
        return [list_lanes(registry.add_first_queues(slot)) for slot in plan_slots(number, wanted, registry.queues)]

    options = SupervisorOptions(
        slots=plan(processes),
        jobs=registry,
        targets=MarketTargets(),
        limits=Limits(max_memory_mb, max_items, _silence(settings)),
        grace_seconds=settings.grace_seconds if grace_seconds is None else grace_seconds,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        hooks=list(load_hook_classes(settings.built_in_hooks)),
        plan=plan,
    )
    supervisor = Supervisor(settings, session.redis_url, session.database_url, options)
    checks = session.check_database, session.check_installation
    with closing(supervisor):
        if wait_for_stores(supervisor.host.begin(), checks, settings.start_wait_seconds):
            supervisor.run()


def _silence(settings: Settings) -> Silence:
    # A statement may take as long as PostgreSQL allows, and save() may run several.
    longest = 3 * settings.statement_timeout_seconds or float("inf")
    return Silence(max(Silence().busy_seconds, longest), settings.idle_silence_seconds)


def _parse_queues(words: tuple[str, ...], known: list[str]) -> dict[str, int | None]:
    queues: dict[str, int | None] = {}
    for word in words:
        name, equals, count = word.partition("=")
        if name not in known:
            raise BadInputError(f"no job uses queue {name!r}; known: {', '.join(known)}")
        if name in queues:
            raise BadInputError(f"queue {name!r} is named twice")
        if equals and not (count.isdecimal() and int(count) >= 1):
            raise BadInputError(f"--queue {word!r}: {count!r} is not a number of processes, at least 1")
        queues[name] = int(count) if equals else None
    return queues
