"""What the commands of `streamworkers alerts` share: whose alerts, which of them, and until when."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from typing import Any, TypeVar

import click

from streamworkers.actor import Actor
from streamworkers.alerts.duration import parse_duration
from streamworkers.alerts.selection import AlertSelector
from streamworkers.cli.checked_text import check_duration, check_moment
from streamworkers.errors import BadInputError
from streamworkers.market.calendar.moments import parse_moment
from streamworkers.market.calendar.timeframes import timeframe_named

F = TypeVar("F", bound=Callable[..., Any])

user_option: Callable[[F], F] = click.option(
    "--user", default="local", show_default=True, help="The user whose alerts these are."
)
names_argument: Callable[[F], F] = click.argument("names", nargs=-1, required=True, metavar="NAME...")
_SELECTORS = (
    click.option("--name", "pattern", help="Only alerts of this name; * and ? stand for any characters."),
    click.option("--symbol", help="Only alerts about this symbol."),
    click.option("--universe", help="Only alerts about this universe."),
    click.option("--timeframe", help="Only alerts of this timeframe."),
    click.option("--group", help="Only alerts of this group."),
)
_END = (
    click.option("--for", "duration", callback=check_duration, help="End after this time: 90s, 5m, 2h, 1d or 1w."),
    click.option(
        "--until",
        callback=check_moment,
        help="End at this date, of which it is the last moment, or ISO time, in New York.",
    ),
)


def selector_options(command: F) -> F:
    """The options that choose alerts."""
    return reduce(lambda found, option: option(found), reversed(_SELECTORS), command)


def end_options(command: F) -> F:
    """The options that say when something ends."""
    return reduce(lambda found, option: option(found), reversed(_END), command)


def actor_of(user: str) -> Actor:
    """The actor of a command."""
    return Actor(user)


def collect_selector(options: dict[str, Any]) -> AlertSelector:
    """The selector of the options, which are taken out."""
    timeframe = options.pop("timeframe")
    return AlertSelector(
        name=options.pop("pattern"),
        symbol=options.pop("symbol"),
        universe=options.pop("universe"),
        timeframe=None if timeframe is None else timeframe_named(timeframe).name,
        group=options.pop("group"),
    )


def parse_end(duration: str | None, until: str | None) -> datetime | None:
    """The moment that `--for` or `--until` means; None without either. Raises BadInputError."""
    if duration is not None and until is not None:
        raise BadInputError("name either --for or --until, not both")
    if duration is not None:
        return datetime.now(UTC) + parse_duration(duration)
    return None if until is None else parse_moment(until)
