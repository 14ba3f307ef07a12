"""`streamworkers demo`: the analysis job, from an empty folder to detected patterns."""

import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import click

from streamworkers.cli.demo_alert import has_chats, remove_demo_alert, set_alert, show_message
from streamworkers.cli.demo_api import demo_token, show_requests, stay
from streamworkers.cli.demo_processes import running_api, running_scheduler, running_telegram, running_workers
from streamworkers.cli.session import Session, print_table
from streamworkers.cli.waiting import wait_for_run
from streamworkers.config import Settings, load_settings
from streamworkers.database import Connection
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.sample import read_sample
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.calendar.moments import show_bar_time
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_import import import_bars
from streamworkers.market.universes.store import add_symbols, resolve
from streamworkers.migrations import migrate
from streamworkers.results.read import list_recent_patterns
from streamworkers.schedules.store import list_schedules

_UNIVERSE = "demo"
_INVENTED, _DAYS, _SEED = 495, 750, 1
_STRONGEST = 10


@click.command(short_help="Run the analysis from an empty folder to detected patterns.")
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Analyse the daily bars of this CSV file.",
)
@click.option(
    "--processes", type=click.IntRange(1, 64), default=2, show_default=True, help="Number of worker processes."
)
@click.option(
    "--symbols",
    type=click.IntRange(1, 5000),
    default=_INVENTED,
    show_default=True,
    help="Number of invented symbols, without --csv.",
)
@click.option(
    "--stay",
    "minutes",
    type=click.IntRange(0, 1440),
    default=0,
    show_default=True,
    help="Minutes for which the HTTP API answers after the analysis; Ctrl-C ends them.",
)
def demo(csv_file: Path | None, processes: int, symbols: int, minutes: int) -> int:
    """Start the embedded services, load bars, analyse them on workers, show the strongest patterns, and stop again.

    Without --csv, the bars are those of five real symbols and of invented ones, and an alert fires: its message goes to
    a fake of Telegram, and is printed. Meanwhile the HTTP API answers, with a token that is printed and ends with it.
    """
    settings = load_settings()
    services = EmbeddedServices(settings)
    was_running = all(service.answers for service in services.status())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _print_step(f"Redis and PostgreSQL in {services.folder}")
        services.start()
        own = settings.model_copy(update={"redis_url": None, "database_url": None})
        return _run(own, csv_file, processes, symbols, minutes)
    finally:
        if not was_running:
            services.stop()


def _run(settings: Settings, csv_file: Path | None, processes: int, symbols: int, minutes: int) -> int:
    session = Session(settings)
    with ExitStack() as stack:
        connection = stack.enter_context(session.database())
        streams = stack.enter_context(session.streams())
        migrate(connection)
        # A database in use has messages that no fake must receive, and schedules that would start.
        is_used = has_chats(connection) or bool(list_schedules(connection))
        telegram = stack.enter_context(running_telegram()) if csv_file is None and not is_used else None
        metrics_url = stack.enter_context(running_workers(session, processes, telegram))
        loaded = _load_samples(connection, symbols) if csv_file is None else _load_file(connection, csv_file)
        has_api = _open_api(stack, session, connection)
        run, _ = enqueue(connection, streams, installed_jobs(), RunRequest("analysis", loaded, _UNIVERSE, "day"))
        alert = None
        if telegram is not None:
            stack.enter_context(running_scheduler(session, telegram))
            alert = set_alert(connection)
            _print_step(f"an alert: {alert.text}; the symbol is invented, its newest bar is of {alert.day}")
        _print_step(f"analysis of {len(loaded)} symbols on {processes} worker processes")
        code = wait_for_run(connection, run, timeout=600, as_json=False)
        _print_step("the strongest patterns (confidence is a rule score, not a probability)")
        _print_strongest(connection)
        if telegram is not None and alert is not None:
            _print_step("the alert has fired; its message, as a fake of Telegram has received it")
            show_message(connection, alert, telegram, settings.data_dir)
            remove_demo_alert(connection)
        if has_api and minutes:
            _print_step(f"the HTTP API answers for {minutes} minutes more; Ctrl-C ends the demo")
            stay(minutes)
    _print_step(f"the workers served metrics at {metrics_url} and have stopped. To continue:")
    _print_next_steps()
    return code


def _open_api(stack: ExitStack, session: Session, connection: Connection) -> bool:
    """Let the HTTP API answer until the stack is closed, if it is installed, and say how it is asked."""
    url = stack.enter_context(running_api(session))
    if url is None:
        return False
    token = stack.enter_context(demo_token(connection))
    _print_step(f"the HTTP API answers at {url} while this runs; in another terminal:")
    show_requests(url, token)
    return True


def _load_file(connection: Connection, csv_file: Path) -> tuple[str, ...]:
    summary = import_bars(connection, [csv_file], TIMEFRAMES["day"])
    add_symbols(connection, _UNIVERSE, summary.symbols)
    rejected = sum(summary.rejected.values())
    _print_step(f"{summary.rows_read - rejected:,} bars of {csv_file.name} loaded, {rejected} rejected")
    return resolve(connection, _UNIVERSE)


def _load_samples(connection: Connection, symbols: int) -> tuple[str, ...]:
    real = load_unreal(connection, TIMEFRAMES["day"], read_sample(), BarOrigin.SAMPLE)
    last = real.last
    assert last is not None
    rows = generate_bars(symbols, _DAYS, _SEED, last)
    invented = load_unreal(connection, TIMEFRAMES["day"], rows, BarOrigin.INVENTED)
    add_symbols(connection, _UNIVERSE, real.symbols | invented.symbols)
    bars = sum(load.inserted + load.updated + load.unchanged for load in (real, invented))
    _print_step(f"{bars:,} bars: {len(real.symbols)} real symbols, {len(invented.symbols)} invented ones, up to {last}")
    return resolve(connection, _UNIVERSE)


def _print_strongest(connection: Connection) -> None:
    rows = list_recent_patterns(connection, timeframe="day", min_confidence=0.0, direction=None, limit=_STRONGEST)
    shown = [{**row, "bar": show_bar_time(row["bar_time"], "day")} for row in rows]
    columns = {"bar": "bar", "symbol": "symbol", "pattern_name": "pattern", "direction": "direction"}
    print_table(shown, {**columns, "confidence": "confidence"}, "no patterns")


def _print_next_steps() -> None:
    for line in (
        "streamworkers embedded start",
        "streamworkers worker --processes 2 --metrics-port 9101 &",
        "streamworkers enqueue analysis --universe demo --wait",
        "streamworkers results AAPL",
        "streamworkers patterns recent --min-confidence 0.7",
        "streamworkers runs list",
        "streamworkers embedded stop",
    ):
        click.echo(f"  {line}")
    click.echo("  (the commands are in .venv/bin; the data is kept in the folder above)")


def _print_step(text: str) -> None:
    click.secho(f"\n» {text}", bold=True)
