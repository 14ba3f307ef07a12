"""Rows of the audit log about commands that change something and were rejected."""

import click
import psycopg

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection
from streamworkers.errors import StreamworkersError
from streamworkers.faults import describe
from streamworkers.logger import get_logger

log = get_logger()
# What a command does, as its rows say when it succeeds. All other commands read, or change what no row is about.
ACTIONS = {
    "alerts add": "alert.create",
    "alerts copy": "alert.create",
    "alerts edit": "alert.change",
    "alerts mute": "alert.mute",
    "alerts pause": "alert.pause",
    "alerts remove": "alert.remove",
    "alerts resume": "alert.resume",
    "alerts snooze": "alert.snooze",
    "alerts unmute": "alert.unmute",
    "backfills cancel": "backfill.cancel",
    "dead purge": "run.purge",
    "dead replay": "run.replay",
    "endpoints add": "endpoint.add",
    "endpoints off": "endpoint.off",
    "endpoints on": "endpoint.on",
    "endpoints remove": "endpoint.remove",
    "endpoints verify": "endpoint.verify",
    "enqueue": "run.submit",
    "load": "run.submit",
    "messages replay": "message.replay",
    "notifications retry": "notification.retry",
    "preferences quiet": "preference.quiet",
    "preferences set": "preference.set",
    "queues pause": "queue.pause",
    "queues resume": "queue.resume",
    "runs cancel": "run.cancel",
    "runs retry": "run.retry",
    "runs retry-webhook": "run.webhook_retry",
    "schedules add": "schedule.create",
    "schedules backfill": "backfill.create",
    "schedules edit": "schedule.change",
    "schedules pause": "schedule.pause",
    "schedules remove": "schedule.remove",
    "schedules resume": "schedule.resume",
    "schedules trigger": "schedule.trigger",
    "telegram links remove": "link.remove",
    "tokens create": "token.create",
    "tokens revoke": "token.revoke",
    "tokens rotate": "token.rotate",
    "users add": "user.add",
    "users disable": "user.disable",
    "users enable": "user.enable",
}


def record_rejection(connection: Connection, error: StreamworkersError) -> None:
    """Add a row about the command that is executed now, if it changes something: it was rejected with this error."""
    context = click.get_current_context(silent=True)
    action = None if context is None else ACTIONS.get(context.command_path.partition(" ")[2])
    if context is None or action is None or context.params.get("dry_run"):
        return
    options = [each.name for each in context.command.params if isinstance(each, click.Option)]
    user = context.params.get("user") if "user" in options else None
    change = AuditChange(action, action.partition(".")[0], _first_argument(context))
    try:
        record_change(connection, Actor(user or LOCAL.user), change, "rejected", str(error))
    except psycopg.Error as failure:
        log.warning("audit_failed", action=action, error=describe(failure))


def _first_argument(context: click.Context) -> str:
    """What the command is about; a later argument may be a secret, such as a code or an address."""
    for each in context.command.params:
        if isinstance(each, click.Argument):
            value = context.params.get(str(each.name))
            return " ".join(map(str, value)) if isinstance(value, tuple) else str(value or "")
    return ""
