"""`streamworkers api`."""

from contextlib import closing

import click

from streamworkers.cli.session import Session
from streamworkers.engine.host.start import wait_for_stores
from streamworkers.errors import UsageError


@click.command(short_help="Start the HTTP API.")
@click.option("--host", help="The address to listen on.  [default: STREAMWORKERS_API_HOST]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 picks one.  [default: STREAMWORKERS_API_PORT]")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port of /metrics; 0 picks a free one.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address to serve them on.")
def api(host: str | None, port: int | None, metrics_port: int | None, metrics_host: str) -> None:
    """Start the HTTP API. docs/guides/api.md says how to use it; `streamworkers tokens create` lets programs in.

    Any number of these processes may run. It runs until SIGTERM or Ctrl-C. Other hosts reach it through a proxy with
    TLS.
    """
    try:
        from streamworkers.api.process import ApiOptions, ApiProcess
    except ImportError as error:
        raise UsageError(f"the HTTP API needs the extra `api`: pip install 'streamworkers[api]' ({error})") from None
    session = Session.open()
    settings = session.settings
    options = ApiOptions(
        host or settings.api_host, settings.api_port if port is None else port, metrics_host, metrics_port
    )
    process = ApiProcess(settings, session.redis_url, session.database_url, options)
    with closing(process):
        checks = (session.check_database, session.check_installation)
        if wait_for_stores(process.host.begin(), checks, settings.start_wait_seconds):
            process.run()
