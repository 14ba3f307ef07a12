"""`streamworkers scheduler`."""

import click

from scheduler.service import Scheduler, SchedulerOptions
from streamworkers.cli.session import Session, messages, require_schema
from streamworkers.engine.registry import installed_jobs
from streamworkers.schedules import store


@click.command(short_help="Start a scheduler: it turns ticks and messages into runs.")
@click.option("--once", is_flag=True, help="Start what is due now, and exit: for use from cron.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics, /livez and /readyz; 0 picks a free one."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address to serve them on.")
def scheduler(once: bool, metrics_port: int | None, metrics_host: str) -> None:
    """Start a scheduler, which turns ticks of schedules and messages of other programs into runs.

    It runs until SIGTERM or Ctrl-C. Several may run side by side: each tick and each message starts one run.
    """
    session = Session.open()
    with session.database() as connection:
        require_schema(connection)
        if not store.list_schedules(connection):
            messages.print(
                "there are no schedules yet: streamworkers schedules install-defaults",
                markup=False,
            )
    with session.streams():
        pass
    options = SchedulerOptions(metrics_host, None if once else metrics_port)
    service = Scheduler(session.settings, session.redis_url, session.database_url, installed_jobs(), options)
    if not once:
        service.run()
        return
    try:
        service.run_once()
    finally:
        service.close()
