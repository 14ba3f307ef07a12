"""`streamworkers`: the group of all commands, and the exit code of every error."""

import gc
import importlib
import os
import signal
import sys
from importlib.metadata import EntryPoint
from typing import Any, cast

import click

from streamworkers.cli.interrupts import end_quietly, interrupt_between_imports
from streamworkers.cli.version import VERSIONS
from streamworkers.errors import ServiceUnreachableError, StreamworkersError, UnknownNameError, UsageError
from streamworkers.installed import entry_points
from streamworkers.names import escape_unseen

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_UNREACHABLE = 3

COMPLETE = "_STREAMWORKERS_COMPLETE"  # what a shell sets when it asks for completions
COMMAND_GROUP = "streamworkers.commands"  # entry points of other packages that add a command
# The short help of each command is repeated here, so that `streamworkers --help` imports none of them. A test compares
# both.
_COMMANDS = {
    "adopt": "Let this database and these Redis keys belong together.",
    "alerts": "Alerts: add, try, list, mute and edit them.",
    "api": "Start the HTTP API.",
    "audit": "The audit log: list it, and verify its seals.",
    "backfills": "Backfills, which `schedules backfill` starts: list, show, watch, cancel.",
    "bars": "OHLCV bars: import, export, generate, show, and find gaps.",
    "calendars": "Exchange calendars of symbols: list, set, unset.",
    "cleanup": "Delete rows that are older than their retention.",
    "config": "Settings: show those in force, and where each comes from.",
    "dead": "List, show, replay and purge dead items.",
    "demo": "Run the analysis from an empty folder to detected patterns.",
    "doctor": "Run all checks, and repair what they find.",
    "embedded": "Start and stop a private Redis and PostgreSQL.",
    "enqueue": "Start a run of a job over a universe or symbols.",
    "endpoints": "Where users get notifications: add, list, test, on, off.",
    "indicators": "Indicator definitions: list, add, enable, disable.",
    "items": "Items of all runs: list and show them.",
    "jobs": "Jobs: list, show, write their types for programs.",
    "limits": "Limits of jobs: list them with who runs and waits.",
    "listings": "Days on which symbols are listed: list, set, unset.",
    "load": "Load bars from a provider.",
    "messages": "Messages of other programs: list, show, replay.",
    "migrate": "Create or update the database schema.",
    "notifications": "Notifications: list, show and retry them.",
    "notify": "Notify a user.",
    "patterns": "Candle and chart patterns: detections and definitions.",
    "preferences": "How users want notifications: at once, in a digest, off.",
    "queues": "Queues: what waits in them; pause and resume them.",
    "rejected": "List, show and purge rejected entries.",
    "results": "Show the newest results of a symbol, or export results.",
    "rules": "Rules: check them, and translate between text and JSON.",
    "running": "Show what runs right now, by item, and since when.",
    "runs": "List, show, watch, cancel and retry runs.",
    "scheduler": "Start a scheduler: it turns ticks and messages into runs.",
    "schedulers": "Schedulers: list them, and show what each does.",
    "schedules": "Schedules: what starts runs, and when.",
    "status": "Show the state of the system on one screen.",
    "telegram": "Start the Telegram bot; make codes, list and remove links.",
    "tokens": "Tokens of the HTTP API: create, list, rotate, revoke.",
    "top": "Watch queues, workers and runs in the terminal.",
    "universes": "Universes (named sets of symbols): import, list, show.",
    "users": "Who gets notifications: add, list, disable, enable.",
    "version": "Print the versions of streamworkers and Python.",
    "watchdog": "Notice from outside that no messages leave the pool.",
    "worker": "Start a supervisor with worker processes.",
    "workers": "Workers: list, show, drain, resume, stop, resize.",
}


class _LazyGroup(click.Group):
    """Imports a command when it is used, so that `version` does not load TA-Lib."""

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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Offer the commands without importing them."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=_COMMANDS.get(name)) for name in self.list_commands(ctx)]
        offered = [each for each in found if each.value.startswith(incomplete)]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

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
        found = super().resolve_command(ctx, args)
        if signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, signal.SIG_IGN):
            interrupt_between_imports()  # from here on there may be something to close
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        return found


def _added_commands() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=COMMAND_GROUP)}


def _summary(point: EntryPoint) -> str:
    """What the distribution that adds a command says of itself; importing the command would take longer."""
    return "" if point.dist is None else f"{point.dist.metadata['Summary'] or point.dist.name}."


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(message=VERSIONS, help="Print the versions of streamworkers and Python.")
def cli() -> None:
    """A Redis Streams worker pool for market analysis.

    Exit codes: 0 success, 1 a run failed or has failed items, or a check
    found a problem, 2 usage, 3 Redis or PostgreSQL cannot be used, 78 Telegram
    does not know the bot's token, 130 interrupted.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run a command, and turn errors into one line and an exit code. Without arguments, those of the process."""
    if os.environ.get(COMPLETE):
        from streamworkers.cli.completion import answer_shell

        answer_shell(cli)
    try:
        code = _run(arguments)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        _show(error)
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


def _run(arguments: list[str] | None) -> Any:
    try:
        return cli.main(args=arguments, prog_name="streamworkers", standalone_mode=False)
    finally:
        if arguments is None:
            end_quietly()


def _show(error: click.ClickException) -> None:
    if isinstance(error, click.UsageError):
        from streamworkers.cli.usage_errors import word_usage_error

        error = word_usage_error(error)
    error.show()


def _database_failure(error: Exception) -> tuple[str, int] | None:
    """The message and exit code for an error of PostgreSQL; None for any other error."""
    # Only a command that has connected has loaded it: `--help` does not wait for it.
    if (psycopg := sys.modules.get("psycopg")) is None or not isinstance(error, psycopg.Error):
        return None
    from streamworkers.faults import SCHEMA_ADVICE, find_fault, is_schema_fault

    if is_schema_fault(error):
        return f"{SCHEMA_ADVICE} ({error.diag.message_primary})", EXIT_USAGE
    if (fault := find_fault(error)) is not None:
        return fault.text, EXIT_UNREACHABLE
    return f"PostgreSQL rejects: {error.diag.message_primary or ' '.join(str(error).split())}", EXIT_FAILED


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {escape_unseen(message)}", err=True)
    sys.exit(code)
