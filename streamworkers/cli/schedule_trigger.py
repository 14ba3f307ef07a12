"""`streamworkers schedules trigger`: a run now, as scheduled or about something else."""

from dataclasses import replace

import click

from streamworkers.cli.as_of import as_of_option, note_earlier_as_of
from streamworkers.cli.run_target import require_fitting_target
from streamworkers.cli.session import Session, json_option, parse_parameters, parse_words, timeout_option
from streamworkers.cli.unknown_symbols import warn_of_unknown_symbols
from streamworkers.cli.waiting import announce_run, wait_for_run
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.market.bars.as_of import parse_as_of
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import resolve
from streamworkers.schedules import run_factory, store
from streamworkers.schedules.run_factory import Changes


@click.command(short_help="Start a run of a schedule now.")
@click.argument("name")
@click.option("--universe", help="Another universe, or the union of several: 'sp500:nasdaq100'.")
@click.option("--symbols", help="Other symbols, separated by commas; for a job without symbols, its parts or ids.")
@click.option("--timeframe", help="Another timeframe: 1min, hour, day, week or month.")
@as_of_option
@click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter, for this run only.")
@click.option("--wait", is_flag=True, help="Wait for the run and show its progress and summary.")
@timeout_option
@json_option
def trigger(
    name: str,
    universe: str | None,
    symbols: str | None,
    timeframe: str | None,
    as_of: str | None,
    parameters: tuple[str, ...],
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Start a run of schedule NAME now, paused or not.

    --universe, --symbols, --timeframe and --param are for this run only. A run about something else than the
    schedule is not what other schedules wait for.
    """
    if timeout is not None and not wait:
        raise BadInputError("--timeout is the time to --wait: name both")
    frame = timeframe_named(timeframe).name if timeframe is not None else None
    values = parse_parameters(parameters)
    session, registry = Session.open(), installed_jobs()
    with session.database() as connection, session.streams() as streams:
        definition = store.require_schedule(connection, name).require_definition()
        require_fitting_target(registry[definition.job], universe, symbols)
        keys = None if symbols is None else _read_keys(symbols)
        changes = Changes(symbols=keys, universe=universe, timeframe=frame, parameters=values)
        if as_of is not None:
            about, _ = run_factory.find_symbols(connection, resolve, definition, changes)
            changes = replace(changes, as_of=parse_as_of(connection, session.settings.calendar, about, as_of))
        run = run_factory.trigger(connection, streams, registry, name, changes)
        note_earlier_as_of(run, changes.as_of, as_of)
        warn_of_unknown_symbols(connection, registry[run.job], keys or ())
        if wait:
            return wait_for_run(connection, run, timeout=timeout, as_json=as_json, streams=streams)
        announce_run(connection, streams, run, None, as_json=as_json)
    return 0


def _read_keys(symbols: str) -> tuple[str, ...]:
    if not (keys := parse_words(symbols)):
        raise BadInputError(f"--symbols {symbols!r} names none")
    return keys
