"""What commands share: where the services are, connections to them, and how results are printed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from streamworkers.config import Settings, load_settings
from streamworkers.database import Connection, connect
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.stream import Streams
from streamworkers.errors import BadInputError, ServiceUnreachableError
from streamworkers.market.timeframes import EXCHANGE_ZONE, Timeframe, timeframe_named

F = TypeVar("F", bound=Callable[..., Any])
console = Console()
messages = Console(stderr=True)

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
limit_option: Callable[[F], F] = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Most rows to print."
)


@dataclass(frozen=True)
class Session:
    """The services of one command, found when they are first needed."""

    settings: Settings

    @classmethod
    def open(cls) -> "Session":
        """A session by the environment."""
        return cls(load_settings())

    @cached_property
    def redis_url(self) -> str:
        """Where Redis is. Raises ServiceUnreachableError when nothing says so."""
        if self.settings.redis_url is not None:
            return self.settings.redis_url.get_secret_value()
        return self._embedded_url("redis", "Redis", "STREAMWORKERS_REDIS_URL")

    @cached_property
    def database_url(self) -> str:
        """Where PostgreSQL is. Raises ServiceUnreachableError when nothing says so."""
        if self.settings.database_url is not None:
            return self.settings.database_url.get_secret_value()
        return self._embedded_url("postgres", "PostgreSQL", "STREAMWORKERS_DATABASE_URL")

    @contextmanager
    def database(self) -> Iterator[Connection]:
        """A connection for the length of a command."""
        with connect(self.database_url, application="streamworkers-cli") as connection:
            yield connection

    @contextmanager
    def streams(self) -> Iterator[Streams]:
        """The queues, on a Redis that answers."""
        streams = Streams(self.redis_url, self.settings.key_prefix)
        try:
            streams.ping()
            yield streams
        finally:
            streams.close()

    def _embedded_url(self, name: str, title: str, variable: str) -> str:
        services = EmbeddedServices(self.settings)
        status = next(service for service in services.status() if service.name == name)
        if status.pid is None:
            raise ServiceUnreachableError(
                f"no {title}: set {variable}, or run `streamworkers embedded start` (nothing runs in {services.folder})"
            )
        return status.url


def print_json(value: Any) -> None:
    """Print a value as JSON; dates in ISO form."""
    click.echo(json.dumps(value, default=_as_text, indent=2))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str) -> None:
    """Print rows as a table with these columns, key to heading, or say that there are none."""
    if not rows:
        console.print(empty, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        numeric = all(isinstance(row.get(key), int | float | type(None)) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(key)) for key in columns))
    console.print(table)


def parse_moment(text: str, timeframe: Timeframe | None = None) -> datetime:
    """An aware datetime from `YYYY-MM-DD` or ISO 8601; without a zone it is New York's.

    A bare date means that day's bar for day, week and month, and the end of that day otherwise.
    """
    try:
        if len(text) == 10:
            day = date.fromisoformat(text)
            clock = time(23, 59, 59, 999_999) if timeframe is None or timeframe.intraday else time()
            return datetime.combine(day, clock, tzinfo=EXCHANGE_ZONE)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInputError(f"{text!r} is not a date YYYY-MM-DD or a time in ISO 8601") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=EXCHANGE_ZONE)


def show_bar_time(moment: datetime | None, timeframe: str | None) -> str:
    """A bar's time as people say it: a date for day, week and month, else the minute in New York."""
    if moment is None:
        return ""
    local = moment.astimezone(EXCHANGE_ZONE)
    if timeframe is not None and timeframe_named(timeframe).intraday:
        return local.strftime("%Y-%m-%d %H:%M")
    return local.date().isoformat()


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(value)
