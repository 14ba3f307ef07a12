"""`streamworkers scheduler`."""

from contextlib import closing

import click

from streamworkers.cli.session import Session, messages
from streamworkers.engine.host.scheduler_package import require_own_scheduler
from streamworkers.engine.host.start import wait_for_stores
from streamworkers.engine.registry import installed_jobs
from streamworkers.schedules import store


@click.command(short_help="Start a scheduler: it turns ticks and messages into runs.")
@click.option("--once", is_flag=True, help="Do what is due now and exit, for a system's cron.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics, /livez and /readyz; 0 picks a free one."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address to serve them on.")
def scheduler(once: bool, metrics_port: int | None, metrics_host: str) -> None:
    """Start a scheduler, which turns ticks of schedules and messages of other programs into runs.

    Any number of schedulers may run: each tick and each message becomes one run. It runs until SIGTERM or Ctrl-C.
    """
    require_own_scheduler()
    # Imported only now: before the check it may be another package.
    from scheduler.service import Scheduler, SchedulerOptions

    session = Session.open()
    options = SchedulerOptions(metrics_host, None if once else metrics_port)
    service = Scheduler(session.settings, session.redis_url, session.database_url, installed_jobs(), options)
    with closing(service):
        if once:
            session.check_database()
            session.check_installation()
            _hint_at_defaults(session)
            service.run_once()
        elif wait_for_stores(
            service.host.begin(),
            (session.check_database, session.check_installation),
            session.settings.start_wait_seconds,
        ):
            _hint_at_defaults(session)
            service.run()


def _hint_at_defaults(session: Session) -> None:
    with session.database() as connection:
        if not store.list_schedules(connection):
            messages.print("there are no schedules yet: streamworkers schedules install-defaults", markup=False)
