"""`streamworkers`: the command that holds all others, and what every error becomes."""

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import click

from streamworkers.errors import ServiceUnreachableError, StreamworkersError, UnknownNameError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

COMMAND_GROUP = "streamworkers.commands"  # entry points of other packages that add a command
# The short help stands here too, so that `streamworkers --help` imports no command; a test compares both.
_COMMANDS = {
    "bars": "OHLCV bars: import, invent, show, look for gaps.",
    "cleanup": "Remove what is older than its retention.",
    "dead": "Dead items: those that used up their attempts.",
    "demo": "From an empty folder to detected patterns.",
    "doctor": "Say what is wrong with the pool; mend it.",
    "embedded": "A private Redis and PostgreSQL in a folder.",
    "enqueue": "Start a run of JOB over a universe or some symbols.",
    "indicators": "What the analysis computes: list, add, enable, disable.",
    "load": "Load bars from a provider.",
    "migrate": "Bring the database schema up to date.",
    "patterns": "Candle and chart patterns: what was found.",
    "results": "The indicators and patterns of a symbol.",
    "runs": "Runs: list, stats, show, watch, cancel, retry.",
    "scheduler": "Start a scheduler: ticks and events become runs.",
    "schedules": "Schedules: what starts runs, and when.",
    "status": "How everything is, on one screen.",
    "top": "Queues, workers and runs, live in the terminal.",
    "universes": "Universes: named sets of symbols.",
    "version": "Print the versions of streamworkers and Python.",
    "worker": "Start a supervisor with worker processes.",
}


class _LazyGroup(click.Group):
    """Imports a command when it is used: `version` should not wait for TA-Lib."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_COMMANDS, *_added_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            name = cmd_name.replace("-", "_")
            module = importlib.import_module(f"streamworkers.cli.{name}")
            command: click.Command = getattr(module, name)
            return command
        added = _added_commands().get(cmd_name)
        return None if added is None else cast("click.Command", added.load())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        added = {name: _summary(point) for name, point in _added_commands().items()}
        rows = [(name, (added | _COMMANDS)[name]) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and args[0] not in (known := self.list_commands(ctx)):
            raise UnknownNameError("command", args[0], known)
        return super().resolve_command(ctx, args)


def _added_commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=COMMAND_GROUP)}


def _summary(point: EntryPoint) -> str:
    """What the distribution that adds a command says of itself; importing the command would take longer."""
    return "" if point.dist is None else f"{point.dist.metadata['Summary'] or point.dist.name}."


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A Redis Streams worker pool for market analysis.

    Exit codes: 0 done, 1 the run failed or has failed items, 2 usage,
    3 a service is unreachable.
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point: run a command and turn errors into one line and an exit code."""
    try:
        code: Any = cli.main(args=arguments, prog_name="streamworkers", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except UsageError as error:
        _fail(str(error), EXIT_USAGE)
    except ServiceUnreachableError as error:
        _fail(str(error), EXIT_UNREACHABLE)
    except StreamworkersError as error:
        _fail(str(error), EXIT_FAILED)
    except UnicodeEncodeError:
        _fail("an argument is not UTF-8", EXIT_USAGE)
    except Exception as error:
        if (failure := _database_failure(error)) is None:
            raise
        _fail(*failure)
    sys.exit(code if isinstance(code, int) else 0)


def _database_failure(error: Exception) -> tuple[str, int] | None:
    """The message and exit code for an error of PostgreSQL; None for any other error."""
    # Only a command that has connected has loaded it: `--help` does not wait for it.
    if (psycopg := sys.modules.get("psycopg")) is None or not isinstance(error, psycopg.Error):
        return None
    schema_errors = ("UndefinedTable", "UndefinedColumn", "UndefinedFunction")
    if isinstance(error, tuple(getattr(psycopg.errors, name) for name in schema_errors)):
        return "the database has no tables of streamworkers, or old ones: run `streamworkers migrate`", EXIT_USAGE
    text = " ".join(str(error).split())
    if isinstance(error, psycopg.OperationalError):
        return f"PostgreSQL does not answer: {text}", EXIT_UNREACHABLE
    return f"PostgreSQL rejects: {error.diag.message_primary or text}", EXIT_FAILED


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
