"""`streamworkers enqueue`."""

from typing import Any

import click

from streamworkers.admin.runs import start
from streamworkers.cli.as_of import as_of_option, note_earlier_as_of
from streamworkers.cli.missing_settings import warn_of_missing_job_setting, warn_of_missing_provider_setting
from streamworkers.cli.priority import priority_option
from streamworkers.cli.run_starts import start_later, start_options
from streamworkers.cli.run_target import require_fitting_target
from streamworkers.cli.session import (
    Session,
    json_option,
    parse_parameters,
    parse_words,
    timeout_option,
)
from streamworkers.cli.unknown_symbols import warn_of_unknown_symbols
from streamworkers.cli.waiting import announce_run, wait_for_run
from streamworkers.engine.job import RunRequest
from streamworkers.engine.redis.lanes import Priority
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.market.bars.as_of import parse_as_of
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import resolve


@click.command(short_help="Start a run of a job over a universe or symbols.")
@click.argument("job")
@click.option("--universe", help="A universe, or the union of several: 'sp500:nasdaq100'.")
@click.option("--symbols", help="Symbols, separated by commas; for a job without symbols, its parts or ids.")
@click.option("--timeframe", help="1min, hour, day, week or month.  [default: that of the job]")
@as_of_option
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the job; repeatable.")
@click.option("--max-attempts", type=click.IntRange(1, 100), help="Attempts of an item before it is dead.")
@priority_option
@click.option("--key", help="An idempotency key: if a run with this key exists, no other is started.")
@start_options
@click.option("--wait", is_flag=True, help="Wait for the run, showing its progress and its summary.")
@timeout_option
@json_option
def enqueue(
    job: str,
    universe: str | None,
    symbols: str | None,
    timeframe: str | None,
    as_of: str | None,
    parameters: tuple[str, ...],
    max_attempts: int | None,
    priority: Priority | None,
    key: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **start_at: Any,
) -> int:
    """Start a run of JOB over a universe or symbols, at once or later."""
    registry = installed_jobs()
    parts, has_ids = registry[job].parts, registry[job].item_kind == "id"
    require_fitting_target(registry[job], universe, symbols)
    if universe is None and symbols is None and not parts and not has_ids:
        raise BadInputError("name either --universe or --symbols")
    if timeout is not None and not wait:
        raise BadInputError("--timeout limits --wait: name both")
    frame = timeframe_named(timeframe) if timeframe else None
    values = parse_parameters(parameters)
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        if universe is None:
            names = () if symbols is None else parse_words(symbols)
        elif not (names := resolve(connection, universe)):
            raise BadInputError(f"universe {universe!r} has no symbols")
        moment = parse_as_of(connection, session.settings.calendar, names, as_of) if as_of else None
        request = RunRequest(
            job=job,
            symbols=names,
            target=universe or ",".join(names or parts) or job,
            timeframe=frame.name if frame else None,
            as_of=moment,
            parameters=values,
            max_attempts=max_attempts,
            idempotency_key=key,
            priority=priority,
            universe=universe,
        )
        run, is_new = start(connection, streams, registry, start_later(request, start_at))
        note_earlier_as_of(run, moment, as_of)
        warn_of_missing_provider_setting(session.settings, run)
        warn_of_missing_job_setting(registry[job])
        if universe is None:
            warn_of_unknown_symbols(connection, registry[job], names)
        if wait:
            return wait_for_run(connection, run, timeout=timeout, as_json=as_json, streams=streams)
        announce_run(connection, streams, run, None if is_new else key, as_json=as_json)
    return 0
