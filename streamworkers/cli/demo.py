"""`streamworkers demo`: the analysis job, from an empty folder to detected patterns."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from streamworkers.cli.session import Session, print_table, show_bar_time
from streamworkers.cli.waiting import wait_for_run
from streamworkers.config import Settings, load_settings
from streamworkers.database import Connection
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import ServiceUnreachableError
from streamworkers.loading.providers.provider import BarOrigin
from streamworkers.loading.providers.sample import read_sample
from streamworkers.loading.providers.synthetic import generate_bars
from streamworkers.loading.store import load_unreal
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.market.files.bars_import import import_bars
from streamworkers.market.universes.store import add_symbols, resolve
from streamworkers.migrations import migrate
from streamworkers.results.read import list_recent_patterns

_UNIVERSE = "demo"
_SYNTHETIC, _DAYS, _SEED = 495, 750, 1
_READY_SECONDS = 60.0
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
def demo(csv_file: Path | None, processes: int) -> int:
    """Start the embedded services, load bars, analyse them on workers, show the strongest patterns, and stop again.

    Without --csv, the bars are those of five real and 495 synthetic symbols.
    """
    settings = load_settings()
    services = EmbeddedServices(settings)
    was_running = all(service.answers for service in services.status())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _print_step(f"Redis and PostgreSQL in {services.folder}")
        services.start()
        return _run(settings.model_copy(update={"redis_url": None, "database_url": None}), csv_file, processes)
    finally:
        if not was_running:
            services.stop()


def _run(settings: Settings, csv_file: Path | None, processes: int) -> int:
    session = Session(settings)
    with session.database() as connection, session.streams() as streams:
        migrate(connection)
        with _workers(session, processes) as metrics_url:
            symbols = _load(connection, csv_file)
            _print_step(f"analysis of {len(symbols)} symbols on {processes} worker processes")
            request = RunRequest("analysis", symbols, _UNIVERSE, "day")
            run, _ = enqueue(connection, streams, installed_jobs(), request)
            code = wait_for_run(connection, run, timeout=600, as_json=False)
            _print_step("the strongest patterns (confidence is a rule score, not a probability)")
            _print_strongest(connection)
        _print_step(f"the workers served metrics at {metrics_url} and have stopped. To continue:")
    _print_next_steps()
    return code


def _load(connection: Connection, csv_file: Path | None) -> tuple[str, ...]:
    if csv_file is not None:
        summary = import_bars(connection, [csv_file], TIMEFRAMES["day"])
        add_symbols(connection, _UNIVERSE, summary.symbols)
        rejected = sum(summary.rejected.values())
        _print_step(f"{summary.rows_read - rejected:,} bars of {csv_file.name} loaded, {rejected} rejected")
    else:
        real = load_unreal(connection, TIMEFRAMES["day"], read_sample(), BarOrigin.SAMPLE)
        last = real.last
        assert last is not None
        rows = generate_bars(_SYNTHETIC, _DAYS, _SEED, last)
        invented = load_unreal(connection, TIMEFRAMES["day"], rows, BarOrigin.INVENTED)
        add_symbols(connection, _UNIVERSE, real.symbols | invented.symbols)
        bars = sum(load.inserted + load.updated + load.unchanged for load in (real, invented))
        _print_step(
            f"{bars:,} bars: {len(real.symbols)} real symbols, {len(invented.symbols)} invented ones, up to {last}"
        )
    return resolve(connection, _UNIVERSE)


@contextmanager
def _workers(session: Session, processes: int) -> Iterator[str]:
    """Run a supervisor as a child process until the block ends; yields the URL of its metrics."""
    environment = {
        **os.environ,
        "STREAMWORKERS_REDIS_URL": session.redis_url,
        "STREAMWORKERS_DATABASE_URL": session.database_url,
        "STREAMWORKERS_LOG_FORMAT": "json",
        "STREAMWORKERS_LOG_LEVEL": "info",
    }
    words = [sys.executable, "-m", "streamworkers", "worker", "--processes", str(processes)]
    log_path = session.settings.data_dir / "demo-worker.log"
    with log_path.open("wb") as log_file:
        process = subprocess.Popen(  # noqa: S603  # our own command, no shell
            [*words, "--metrics-port", "0"], env=environment, stderr=log_file, start_new_session=True
        )
        try:
            yield f"http://127.0.0.1:{_metrics_port(process, log_path)}/metrics"
        finally:
            process.terminate()
            process.wait()


def _metrics_port(process: "subprocess.Popen[bytes]", log_path: Path) -> str:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        found = re.search(r'"metrics_port": (\d+)', log_path.read_text(encoding="utf-8"))
        if found:
            return found[1]
        time.sleep(0.02)
    raise ServiceUnreachableError(f"the workers did not start within {_READY_SECONDS:g} s; see their log {log_path}")


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
