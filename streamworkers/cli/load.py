"""`streamworkers load`: bars from a provider into the tables."""

import secrets
from datetime import date, datetime
from typing import Any

import click

from streamworkers.cli.session import Day, Session, json_option, parse_words, timeout_option
from streamworkers.cli.waiting import announce_run, wait_for_run
from streamworkers.engine.enqueue import enqueue
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.timeframes import timeframe_named
from streamworkers.market.universes.store import resolve


@click.command(short_help="Load bars from a provider.")
@click.option("--universe", help="A universe, or several: 'dow30:nasdaq100' is the distinct union.")
@click.option("--symbols", help="Symbols, separated by commas.")
@click.option("--timeframes", default="day", show_default=True, help="Of 1min, hour, day, week, month, by commas.")
@click.option("--years", type=click.FloatRange(0, 100, min_open=True), help="The last so many years: 0.02 is a week.")
@click.option("--from", "first", type=Day, help="First day, in New York.")
@click.option("--to", "last", type=Day, help="Last day.  [default: today]")
@click.option("--provider", help="massive, csv, sample, synthetic, or one of another package.  [default: a setting]")
@click.option("--session", "hours", type=click.Choice(["regular", "extended"]), help="Hours of 1-minute and hour bars.")
@click.option("--include-open", is_flag=True, help="Store bars too whose window has not ended.")
@click.option("--fill-gaps", is_flag=True, help="Load just the bars that sessions give and that are not stored.")
@click.option("--analyze", is_flag=True, help="Analyse what was loaded, by the schedule that follows a load.")
@click.option("--key", help="An idempotency key: while a run has it, the same command gives that run and starts none.")
@click.option("--wait", is_flag=True, help="Wait for the run, show its progress and its summary.")
@timeout_option
@json_option
def load(
    universe: str | None,
    symbols: str | None,
    timeframes: str,
    years: float | None,
    first: datetime | None,
    last: datetime | None,
    provider: str | None,
    hours: str | None,
    include_open: bool,
    fill_gaps: bool,
    analyze: bool,
    key: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
) -> int:
    """Load bars of a universe or some symbols: one item for each symbol and timeframe.

    Without --years or --from it loads what follows each symbol's last stored bar.
    """
    if (universe is None) == (symbols is None):
        raise BadInputError("name either --universe or --symbols")
    if timeout is not None and not wait:
        raise BadInputError("--timeout is the time to --wait: name both")
    if years is not None and first is not None:
        raise BadInputError("name either --years or --from")
    if last is not None and first is None and years is None:
        raise BadInputError("--to needs --from or --years")
    frames = tuple(dict.fromkeys(timeframe_named(name).name for name in parse_words(timeframes)))
    if not frames:
        raise BadInputError(f"--timeframes {timeframes!r} names no timeframe")
    parameters: dict[str, Any] = {
        "provider": provider,
        "first": _day(first),
        "last": _day(last),
        "years": years,
        "hours": hours,
        "include_open": include_open,
        "only_gaps": fill_gaps,
        "run_analysis": analyze,
    }
    registry = installed_jobs()
    session = Session.open()
    with session.database() as connection, session.streams() as streams:
        if symbols is not None:
            names = parse_words(symbols)
        elif not (names := resolve(connection, universe or "")):
            raise BadInputError(f"universe {universe!r} has no symbols")
        request = RunRequest(
            job="load_ohlcv",
            symbols=names,
            target=universe or ",".join(names),
            parameters={name: value for name, value in parameters.items() if value not in (None, False)},
            idempotency_key=key,
            origin=Origin(external_id=f"load-{secrets.token_hex(6)}"),
            timeframes=frames,
        )
        run, is_new = enqueue(connection, streams, registry, request)
        if analyze and not as_json:
            click.echo("the analysis follows the load where a scheduler runs: `streamworkers scheduler`", err=True)
        if wait:
            return wait_for_run(connection, run, timeout=timeout, as_json=as_json, streams=streams)
        announce_run(connection, streams, run, None if is_new else key, as_json=as_json)
    return 0


def _day(moment: datetime | None) -> str | None:
    day: date | None = moment.date() if moment else None
    return day.isoformat() if day else None
