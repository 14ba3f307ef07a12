"""Which function answers which command."""

from collections.abc import Callable
from typing import Any

from streamworkers.database import Connection
from streamworkers.notifications.content import Content
from streamworkers.telegram import alert_commands, chart_commands, help_commands, pool_commands, settings_commands
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.commands import (
    Command,
    DrawChart,
    ListAlerts,
    NotInRelease,
    OneAlert,
    PlainCommand,
    SetDigest,
    SetQuiet,
    ShowHelp,
    ShowRun,
    SilenceAlert,
    WriteAlert,
)

_Answer = Callable[[Connection, Asker, Any], Content]

_BY_KIND: dict[type[Any], _Answer] = {
    WriteAlert: alert_commands.answer_write,
    ListAlerts: alert_commands.answer_list,
    OneAlert: alert_commands.answer_one,
    SilenceAlert: alert_commands.answer_silence,
    ShowRun: pool_commands.answer_run,
    DrawChart: chart_commands.answer_chart,
    SetQuiet: settings_commands.answer_quiet,
    SetDigest: settings_commands.answer_digest,
    ShowHelp: help_commands.answer_help,
    NotInRelease: help_commands.answer_later,
}
_BY_VERB: dict[str, _Answer] = {
    "runs": pool_commands.answer_runs,
    "schedule": pool_commands.answer_schedule,
    "status": pool_commands.answer_status,
    "health": pool_commands.answer_health,
    "quiet": settings_commands.answer_show_quiet,
    "stop": settings_commands.answer_stop,
    "forget": settings_commands.answer_forget,
}


def execute_command(connection: Connection, asker: Asker, command: Command) -> Content:
    """Execute a command of a linked person, and return what is answered. Raises what its functions raise."""
    answer = _BY_VERB[command.verb] if isinstance(command, PlainCommand) else _BY_KIND[type(command)]
    return answer(connection, asker, command)
