"""Shared by the commands: connections to Redis and PostgreSQL, common options, parsing and printing."""

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Any, TypeVar

import click
from psycopg import errors
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from streamworkers.admin.installation import require_installation
from streamworkers.cli.rejections import record_rejection
from streamworkers.config import Settings, load_settings
from streamworkers.config.unknown import find_unknown_variables
from streamworkers.database import Connection, SessionLimits, connect
from streamworkers.diagnosis.postgres import describe_blocked
from streamworkers.embedded import EmbeddedServices
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.errors import (
    BadInputError,
    BlockedError,
    MissingSchemaError,
    ServiceUnreachableError,
    StreamworkersError,
)
from streamworkers.json_depth import find_too_deep
from streamworkers.logs import configure_logs
from streamworkers.market.calendar.moments import parse_moment
from streamworkers.market.calendar.timeframes import TIMEFRAMES
from streamworkers.migrations import migration_status
from streamworkers.names import escape_unseen
from streamworkers.pooler import require_sessions
from streamworkers.tracing import switch_on

_MOST_NESTING = 32
F = TypeVar("F", bound=Callable[..., Any])
console = Console()
messages = Console(stderr=True)

json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
limit_option: Callable[[F], F] = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="Largest number of rows to print."
)
_FOLDED = {"description", "error", "outputs", "params", "target", "url"}
_UNBOUNDED_WIDTH = 100_000
_LONGEST_CELL = 500
_NUMBER = re.compile(r"-?[\d,.]*")


Day = click.DateTime(["%Y-%m-%d"])


class Number(click.FloatRange):
    """A finite number in a range; that of click takes `nan` for one in any."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        return number


class Seconds(Number):
    """A finite number of seconds."""

    name = "seconds"


timeout_option: Callable[[F], F] = click.option(
    "--timeout", type=Seconds(0, min_open=True), help="Stop waiting after this many seconds."
)
run_argument: Callable[[F], F] = click.argument("run_id", type=click.IntRange(1, 2**63 - 1), metavar="RUN")


@dataclass(frozen=True)
class Session:
    """The services of one command, located when they are first needed."""

    settings: Settings

    @classmethod
    def open(cls) -> "Session":
        """Read the settings and configure the logs; warns of variables that are no settings.

        Raises UsageError for a setting that breaks a rule.
        """
        settings = load_settings()
        for warning in find_unknown_variables(os.environ):
            click.echo(f"Warning: {warning}", err=True)
        configure_logs(settings.log_level, settings.log_format)
        if settings.otel:
            switch_on()
        return cls(settings)

    @cached_property
    def redis_url(self) -> str:
        """The URL of Redis. Raises ServiceUnreachableError if none is set and no embedded one runs."""
        if self.settings.redis_url is not None:
            return self.settings.redis_url.get_secret_value()
        return self._embedded_url("redis", "Redis", "STREAMWORKERS_REDIS_URL")

    @cached_property
    def database_url(self) -> str:
        """The URL of PostgreSQL. Raises ServiceUnreachableError if none is set and no embedded one runs."""
        if self.settings.database_url is not None:
            return self.settings.database_url.get_secret_value()
        return self._embedded_url("postgres", "PostgreSQL", "STREAMWORKERS_DATABASE_URL")

    @property
    def limits(self) -> SessionLimits:
        """How long a command may hold up others in PostgreSQL."""
        return SessionLimits.of(self.settings, for_commands=True)

    @contextmanager
    def database(self) -> Iterator[Connection]:
        """A connection for the duration of a command. Raises UsageError for a pooler that does not keep sessions."""
        with connect(self.database_url, application="streamworkers-cli", limits=self.limits) as connection:
            require_sessions(connection, self.database_url)
            with self._naming_blockers():
                try:
                    yield connection
                except ServiceUnreachableError:
                    raise
                except StreamworkersError as error:
                    record_rejection(connection, error)
                    raise

    @contextmanager
    def _naming_blockers(self) -> Iterator[None]:
        try:
            yield
        except errors.LockNotAvailable:
            with connect(self.database_url, application="streamworkers-cli", limits=self.limits) as other:
                raise BlockedError(describe_blocked(other)) from None

    @contextmanager
    def streams(self) -> Iterator[Streams]:
        """The queues. Raises RedisUnavailableError if Redis does not answer."""
        streams = open_streams(self.redis_url, self.settings.key_prefix, self.settings.message_prefix)
        try:
            streams.inspector.ping()
            yield streams
        finally:
            streams.close()

    def check_database(self) -> None:
        """Return if PostgreSQL can be used and has the schema of this release; raises what the database raises."""
        with self.database() as connection:
            require_schema(connection)

    def check_installation(self) -> None:
        """Return if Redis answers and its keys belong to this database; raises RedisUnavailableError and UsageError."""
        with self.database() as connection, self.streams() as streams:
            require_installation(connection, streams)

    def _embedded_url(self, name: str, title: str, variable: str) -> str:
        services = EmbeddedServices(self.settings)
        status = next(service for service in services.status() if service.name == name)
        if status.pid is None:
            raise ServiceUnreachableError(
                f"no {title}: set {variable}, or run `streamworkers embedded start` (nothing runs in {services.folder})"
            )
        return status.url


def require_schema(connection: Connection) -> None:
    """Raise MissingSchemaError if migrations are not applied, MigrationError if there are newer ones."""
    waiting = [status.name for status in migration_status(connection) if status.applied_at is None]
    if waiting:
        raise MissingSchemaError(f"the database lacks {', '.join(waiting)}: run `streamworkers migrate`")


def print_json(value: Any) -> None:
    """Print a value as JSON, with dates in ISO 8601."""
    click.echo(json.dumps(value, default=_as_text, indent=2))


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], empty: str, *, longest: int = _LONGEST_CELL
) -> None:
    """Print rows as a table, or `empty` if there are none. `columns` maps keys to headings.

    On a terminal long texts are folded; in a pipe each row is one line. A text is cut after `longest` characters;
    `--json`, and the command that shows one row, have all of it.
    """
    if not rows:
        console.print(empty, markup=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, heading in columns.items():
        table.add_column(
            Text(heading),
            justify="right" if all(_NUMBER.fullmatch(_cell(row.get(key))) for row in rows) else "left",
            overflow="fold",
            no_wrap=key not in _FOLDED,
        )
    for row in rows:
        table.add_row(*(Text(cut_text(_cell(row.get(key)), longest)) for key in columns))
    print_whole(table)


def print_whole(renderable: RenderableType) -> None:
    """Print for the width of a terminal; in a pipe, where nobody would see that something is cut, as wide as it is."""
    if console.is_terminal:
        console.print(renderable)
        return
    for line in console.render_lines(renderable, console.options.update(width=_UNBOUNDED_WIDTH), pad=False):
        click.echo("".join(segment.text for segment in line).rstrip())


def cut_text(text: str, most: int) -> str:
    """Return a text of at most so many characters, with … where it was cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def show_whole_seconds(seconds: float | None) -> str:
    """Return seconds without fractions for a cell of a table; empty if there are none."""
    return "" if seconds is None else f"{seconds:,.0f}"


def parse_words(text: str) -> tuple[str, ...]:
    """Split a text at commas; each word once."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def parse_since(text: str) -> datetime:
    """Parse the start of a period: a bare date is the beginning of that day in New York."""
    return parse_moment(f"{text}T00:00" if len(text) == 10 else text)


def parse_parameters(words: Sequence[str]) -> dict[str, Any]:
    """Parse words `NAME=VALUE`. A value is JSON if it can be parsed as such, else text. Raises BadInputError."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise BadInputError(f"parameter {word!r} is not NAME=VALUE")
        if name in values:
            raise BadInputError(f"parameter {name!r} is given twice")
        try:
            if find_too_deep(text, _MOST_NESTING) is not None:
                raise BadInputError(f"parameter {name!r} is nested deeper than {_MOST_NESTING} levels")
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def show_parameters(values: Mapping[str, Any]) -> str:
    """Format parameters as `parse_parameters` reads them."""
    return " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()
    )


def show_timeframes(names: Sequence[str]) -> str:
    """Format the timeframes of a definition; all of them are `all`."""
    return "all" if set(names) == set(TIMEFRAMES) else " ".join(names)


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
    return escape_unseen(" ".join(str(value).split()))
