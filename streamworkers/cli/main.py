"""`streamworkers`: the command that holds all others, and what every error becomes."""

import importlib
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

import click
import psycopg

from streamworkers.errors import ServiceUnreachableError, StreamworkersError, UnknownNameError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

COMMAND_GROUP = "streamworkers.commands"  # entry points of other packages that add a command
# The short help stands here too, so that `streamworkers --help` imports no command; a test compares both.
_COMMANDS = {
    "bars": "OHLCV bars: import, generate, show, and find gaps.",
    "cleanup": "Delete rows that are older than their retention.",
    "dead": "Dead items: those that used up their attempts.",
    "demo": "Run the analysis from an empty folder to detected patterns.",
    "doctor": "Say what is wrong with the pool; mend it.",
    "embedded": "Start and stop a private Redis and PostgreSQL.",
    "enqueue": "Start a run of JOB over a universe or some symbols.",
    "indicators": "Indicator definitions: list, add, enable, disable.",
    "load": "Load bars from a provider.",
    "migrate": "Bring the database schema up to date.",
    "patterns": "Candle and chart patterns: detections and definitions.",
    "results": "Show the newest indicators and patterns of a symbol.",
    "runs": "Runs: list, stats, show, watch, cancel, retry.",
    "scheduler": "Start a scheduler: ticks and events become runs.",
    "schedules": "Schedules: what starts runs, and when.",
    "status": "How everything is, on one screen.",
    "top": "Queues, workers and runs, live in the terminal.",
    "universes": "Universes (named sets of symbols): import, list, show.",
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
        rows = []
        for name in self.list_commands(ctx):
            command = None if name in _COMMANDS else self.get_command(ctx, name)
            rows.append((name, _COMMANDS[name] if command is None else command.get_short_help_str(limit=60)))
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
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction):
        _fail("the database has no tables of streamworkers, or old ones: run `streamworkers migrate`", EXIT_USAGE)
    except psycopg.OperationalError as error:
        _fail(f"PostgreSQL does not answer: {' '.join(str(error).split())}", EXIT_UNREACHABLE)
    except psycopg.Error as error:
        _fail(f"PostgreSQL rejects: {error.diag.message_primary or ' '.join(str(error).split())}", EXIT_FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)
