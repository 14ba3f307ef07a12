"""Commands that take long become runs: the bot answers with its number, and the run writes the second message."""

from dataclasses import replace

from streamworkers.actor import Actor
from streamworkers.admin.runs import record_submission
from streamworkers.database import Connection
from streamworkers.engine.enqueue import enqueue_many
from streamworkers.engine.job import Origin, RunRequest
from streamworkers.errors import BadInputError, UnknownJobError
from streamworkers.notifications.content import Content
from streamworkers.notifications.store.answers import PROMISED_WITHIN, count_promised, promise_answer
from streamworkers.telegram.commands import (
    Command,
    ListAlerts,
    OneAlert,
    PlainCommand,
    ShowRun,
    SilenceAlert,
    WriteAlert,
)
from streamworkers.telegram.printer import print_command
from streamworkers.telegram.store.links import Link, require_endpoint

COMMAND_JOB = "bot_command"
MOST_RUNS = 3  # of a user at once: they share the workers that send messages
_NO_WORKER = "no worker does this: it needs `streamworkers worker --queue notify=1`"


def can_run(command: Command) -> bool:
    """True for a command that a run may execute: those that ask for a button, or are about the chat, are quick."""
    if isinstance(command, OneAlert):
        return command.verb != "delete"
    if isinstance(command, PlainCommand):
        return command.verb in ("runs", "schedule", "status", "health")
    return isinstance(command, WriteAlert | ListAlerts | SilenceAlert | ShowRun)


def start_command(connection: Connection, link: Link, command: Command) -> Content:
    """Start a run that executes a command."""
    text = print_command(command)
    title = text.split()[0]
    run = start_run(connection, link, RunRequest(COMMAND_JOB, (title,), title, parameters={"text": text}), title)
    return Content(f"{title} takes longer: started, run {run}")


def start_run(connection: Connection, link: Link, request: RunRequest, title: str) -> int:
    """Submit a run for a link with the id of the answer that it writes, in the caller's transaction; returns its id.

    If nothing has come of it within ten minutes, an answer says so. Raises BadInputError if no worker has the job, or
    if the user waits for too many.
    """
    if count_promised(connection, link.user) >= MOST_RUNS:
        raise BadInputError(f"{MOST_RUNS} runs for you have not ended yet: wait for their answers")
    minutes = PROMISED_WITHIN.seconds // 60
    line = f"Its run has not ended within {minutes} min. If it still does, the answer comes then."
    otherwise = Content(f"Nothing has come of {title}", (line,))
    answer = promise_answer(connection, require_endpoint(connection, link), otherwise)
    parameters = {**(request.parameters or {}), "user": link.user, "answer": str(answer)}
    asked = replace(request, parameters=parameters, origin=Origin(requested_by=link.user))
    try:
        (run,) = enqueue_many(connection, [asked])
    except UnknownJobError:
        raise BadInputError(_NO_WORKER) from None
    record_submission(connection, Actor(link.user, "bot"), run.id, request.job, is_new=run.is_new)
    return run.id
