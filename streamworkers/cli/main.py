"""`streamworkers`: the command that holds all others, and what every error becomes."""

import importlib
import sys
from typing import Any

import click
import psycopg

from streamworkers.errors import ServiceUnreachableError, StreamworkersError, UnknownNameError, UsageError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

_COMMANDS = {
    "bars": "streamworkers.cli.bars:bars",
    "cleanup": "streamworkers.cli.cleanup:cleanup",
    "dead": "streamworkers.cli.dead:dead",
    "demo": "streamworkers.cli.demo:demo",
    "doctor": "streamworkers.cli.doctor:doctor",
    "embedded": "streamworkers.cli.embedded:embedded",
    "enqueue": "streamworkers.cli.enqueue:enqueue",
    "fake-massive": "streamworkers.cli.fake_massive:fake_massive",
    "indicators": "streamworkers.cli.indicators:indicators",
    "load": "streamworkers.cli.load:load",
    "migrate": "streamworkers.cli.migrate:migrate",
    "patterns": "streamworkers.cli.patterns:patterns",
    "results": "streamworkers.cli.results:results",
    "runs": "streamworkers.cli.runs:runs",
    "scheduler": "streamworkers.cli.scheduler:scheduler",
    "schedules": "streamworkers.cli.schedules:schedules",
    "status": "streamworkers.cli.status:status",
    "top": "streamworkers.cli.top:top",
    "universes": "streamworkers.cli.universes:universes",
    "version": "streamworkers.cli.version:version",
    "worker": "streamworkers.cli.worker:worker",
}


class _LazyGroup(click.Group):
    """Imports a command when it is used: `version` should not wait for TA-Lib."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            raise UnknownNameError("command", args[0], _COMMANDS)
        return super().resolve_command(ctx, args)


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
        _fail(f"PostgreSQL refuses: {error.diag.message_primary or ' '.join(str(error).split())}", EXIT_FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
