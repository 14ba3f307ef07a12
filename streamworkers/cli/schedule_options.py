"""The options of `schedules add` and `schedules edit` that set the fields of a definition."""

from collections.abc import Callable
from typing import Any

import click

from streamworkers.cli.run_webhooks import WEBHOOK_OPTIONS, read_webhook
from streamworkers.cli.session import F, parse_parameters
from streamworkers.errors import BadInputError
from streamworkers.schedules.definition import EVENTS

Options = list[Callable[[Any], Any]]
_SUBJECT: Options = [
    click.option("--universe", help="A universe, or several: 'sp500:nasdaq100'."),
    click.option("--symbols", help="Symbols, separated by commas."),
    click.option("--timeframe", help="1min, hour, day, week or month."),
    click.option("--param", "parameters", multiple=True, metavar="NAME=VALUE", help="A parameter of the job."),
    click.option("--timezone", help="Time zone of its times.  [default: America/New_York]"),
]
_LIMITS: Options = [
    click.option("--max-run-seconds", metavar="NUMBER", help="Cancel a run that takes longer.  [default: no limit]"),
    click.option("--done-by", help="Notify if a run is not done at this time of day in the time zone, such as 19:00."),
    click.option(
        "--priority",
        metavar="[high|normal|low]",
        help="Whether its runs go before others of their queue.  [default: normal; low for more than 10,000 items]",
    ),
    *WEBHOOK_OPTIONS,
    click.option("--user-id", help="The user that owns the schedule."),
]
_OPTIONS: Options = [
    click.option("--job", "job", help="The job to run."),
    *_SUBJECT,
    click.option("--cron", help="Five fields, six with seconds first, @daily, session_close+10m, or 'every 90m'."),
    click.option("--every", help="Tick at this interval: 90m, or '90m from 2026-01-05 09:30'."),
    click.option("--on-event", metavar="EVENT", help=f"The event that starts it: {', '.join(EVENTS)}."),
    click.option("--calendar", help="Tick only on sessions of this exchange, such as XNYS."),
    click.option(
        "--catch-up",
        metavar="[skip|latest|all]",
        help="Which of the ticks that are too late to start.  [default: latest]",
    ),
    click.option(
        "--misfire-grace-seconds", metavar="NUMBER", help="Seconds a tick may be late and still start.  [default: 300]"
    ),
    click.option("--max-instances", metavar="NUMBER", help="The most runs that may be open at once.  [default: 1]"),
    click.option(
        "--coalesce/--no-coalesce",
        default=None,
        help="Start only the newest of several ticks that are on time.  [default: coalesce]",
    ),
    click.option("--after", help="Wait for the run of this schedule in the same session."),
    click.option(
        "--min-coverage", metavar="SHARE", help="Share of that run's items that must be completed.  [default: 1]"
    ),
    click.option("--after-timeout-seconds", metavar="NUMBER", help="The longest wait for that run.  [default: 3600]"),
    click.option(
        "--after-timeout-action",
        metavar="[start|skip]",
        help="What to do when --after-timeout-seconds has passed.  [default: start]",
    ),
    click.option(
        "--jitter-seconds", metavar="NUMBER", help="Delay each tick by up to this many seconds.  [default: 0]"
    ),
    click.option(
        "--end", "ends_at", help="Tick only before this time in the time zone; a date is the end of that day."
    ),
    *_LIMITS,
]


def once_options(command: F) -> F:
    """Add the options of a schedule that ticks once."""
    return _add(command, [*_SUBJECT, *_LIMITS])


def definition_options(command: F) -> F:
    """Add an option for every field of a definition but its name."""
    return _add(command, _OPTIONS)


def _add(command: F, options: Options) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def collect_fields(options: dict[str, Any]) -> dict[str, Any]:
    """The fields of a definition that were given on the command line."""
    universe, symbols, parameters = options.pop("universe"), options.pop("symbols"), options.pop("parameters")
    every = options.pop("every", None)
    options["webhook"] = read_webhook(options.pop("webhook", None), options.pop("webhook_secret", ()))
    fields = {name: value for name, value in options.items() if value is not None}
    if every is not None:
        if "cron" in fields:
            raise BadInputError("name either --cron or --every")
        fields["cron"] = f"every {every}"
    if universe is not None and symbols is not None:
        raise BadInputError("name either --universe or --symbols")
    if universe is not None:
        fields["target"] = {"universe": universe}
    if symbols is not None:
        fields["target"] = {"symbols": [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]}
    if parameters:
        fields["parameters"] = parse_parameters(parameters)
    return fields
