"""`streamworkers load`: load bars from a provider into the database."""

import getpass
import secrets
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from streamworkers.admin.runs import start
from streamworkers.cli.missing_settings import warn_of_missing_provider_setting
from streamworkers.cli.priority import priority_option
from streamworkers.cli.session import Day, Number, Session, json_option, parse_words, timeout_option
from streamworkers.cli.waiting import announce_run, wait_for_run
from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.engine.ledger import Run
from streamworkers.engine.redis.lanes import Priority
from streamworkers.engine.registry import installed_jobs
from streamworkers.errors import BadInputError
from streamworkers.loading.grouped_days import MOST_DAYS
from streamworkers.loading.load_rules import Span
from streamworkers.loading.parameters import LoadParameters
from streamworkers.market.calendar.timeframes import TIMEFRAMES, timeframe_named
from streamworkers.market.universes.store import resolve

_LONG_MINUTES = 10


@click.command(short_help="Load bars from a provider.")
@click.option("--universe", help="Universe, or several: 'dow30:nasdaq100' is their union.")
@click.option("--symbols", help="Symbols, separated by commas.")
@click.option(
    "--timeframes",
    default="day",
    show_default=True,
    help="Some of 1min, hour, day, week and month, separated by commas.",
)
@click.option("--years", type=Number(0, 100, min_open=True), help="Load this many years up to --to; 0.02 is a week.")
@click.option("--from", "first", type=Day, help="First day to load, in New York.")
@click.option("--to", "last", type=Day, help="Last day to load, in New York.  [default: today]")
@click.option(
    "--provider",
    help="massive, csv, sample, synthetic, or a provider of another package.  [default: STREAMWORKERS_LOAD_PROVIDER]",
)
@click.option(
    "--session",
    "hours",
    type=click.Choice(["regular", "extended"]),
    help="Trading hours of 1min and hour bars.  [default: STREAMWORKERS_LOAD_HOURS]",
)
@click.option("--include-open", is_flag=True, help="Also store bars whose window has not ended yet.")
@click.option("--fill-gaps", is_flag=True, help="Load only the bars that the sessions expect and that are not stored.")
@click.option("--analyze", is_flag=True, help="Analyse the symbols after the load; needs a running scheduler.")
@priority_option
@click.option("--key", help="Idempotency key: if a run has this key, show that run and start none.")
@click.option("--wait", is_flag=True, help="Wait for the run; show its progress and its summary.")
@timeout_option
@json_option
def load(
    universe: str | None,
    symbols: str | None,
    timeframes: str,
    priority: Priority | None,
    key: str | None,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Load bars of a universe or of some symbols. Each symbol in each timeframe is an item.

    Without --years or --from, loads the bars after the last stored bar of each symbol, and
    STREAMWORKERS_LOAD_YEARS years of a symbol that has no bars.
    """
    _require_consistent(universe, symbols, timeout, wait)
    parameters, frames = _job_parameters(**options), _timeframe_names(timeframes)
    registry, session = installed_jobs(), Session.open()
    with session.database() as connection, session.streams() as streams:
        names = parse_words(symbols) if symbols is not None else _require_symbols(connection, universe or "")
        request = RunRequest(
            job="load_ohlcv",
            symbols=names,
            target=universe or ",".join(names),
            parameters=parameters,
            idempotency_key=key,
            origin=Origin(external_id=f"load-{secrets.token_hex(6)}", requested_by=_user()),
            timeframes=frames,
            universe=universe,
            priority=priority,
        )
        run, is_new = start(connection, streams, registry, request)
        warn_of_missing_provider_setting(session.settings, run)
        _announce(run, len(names), universe, is_new=is_new, as_json=as_json)
        if wait:
            return wait_for_run(connection, run, timeout=timeout, as_json=as_json, streams=streams)
        announce_run(connection, streams, run, None if is_new else key, as_json=as_json)
    return 0


def _user() -> str | None:
    """Return who asks, whose loads share calls; None where the system has no name for the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None


def _announce(run: Run, symbols: int, universe: str | None, *, is_new: bool, as_json: bool) -> None:
    """Print what follows the load, and what is cheaper, unless the answer is JSON."""
    if as_json:
        return
    if run.parameters.get("run_analysis"):
        click.echo("the analysis starts after the load if a scheduler is running: `streamworkers scheduler`", err=True)
    if is_new:
        _offer_newest_days(run, symbols, universe)


def _offer_newest_days(run: Run, symbols: int, universe: str | None) -> None:
    """Print how to have the newest days at once, where all that was asked for takes long."""
    settings, given = load_settings(), LoadParameters.model_validate(run.parameters)
    limit, calls = settings.massive_calls_per_minute, given.estimated_calls
    takes_long = bool(limit) and calls > MOST_DAYS and calls > _LONG_MINUTES * limit
    if given.provider != "massive" or run.timeframe != "day" or symbols < settings.load_grouped_from or not takes_long:
        return
    rules = given.rules(run.as_of or datetime.now(UTC))
    span = Span(rules.today - timedelta(days=4 * MOST_DAYS), rules.today)
    first = rules.expected(TIMEFRAMES["day"], span)[-MOST_DAYS:].astype("datetime64[D]").tolist()[0]
    who = f"--universe {universe}" if universe is not None else "--symbols …"
    command = f"streamworkers load {who} --timeframes day --from {first}"
    click.echo(f"the newest {MOST_DAYS} days alone take {MOST_DAYS} calls: {command}")


def _require_consistent(universe: str | None, symbols: str | None, timeout: float | None, wait: bool) -> None:
    if (universe is None) == (symbols is None):
        raise BadInputError("name either --universe or --symbols, and not both")
    if timeout is not None and not wait:
        raise BadInputError("--timeout needs --wait")


def _require_symbols(connection: Connection, universe: str) -> tuple[str, ...]:
    symbols = resolve(connection, universe)
    if not symbols:
        raise BadInputError(f"universe {universe!r} has no symbols: add some with `streamworkers universes import`")
    return symbols


def _job_parameters(
    *, first: datetime | None, last: datetime | None, years: float | None, fill_gaps: bool, analyze: bool, **others: Any
) -> dict[str, Any]:
    """The parameters of the job; options that were not given are left out. Raises BadInputError for a bad range."""
    if years is not None and first is not None:
        raise BadInputError("name either --years or --from, not both")
    if last is not None and first is None and years is None:
        raise BadInputError("--to needs --from or --years")
    parameters = {
        "first": _day(first),
        "last": _day(last),
        "years": years,
        "only_gaps": fill_gaps,
        "run_analysis": analyze,
        **others,
    }
    return {name: value for name, value in parameters.items() if value not in (None, False)}


def _timeframe_names(words: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(timeframe_named(name).name for name in parse_words(words)))
    if not names:
        raise BadInputError(f"--timeframes {words!r} names no timeframe: name some of {', '.join(TIMEFRAMES)}")
    return names


def _day(moment: datetime | None) -> str | None:
    day: date | None = moment.date() if moment else None
    return day.isoformat() if day else None
