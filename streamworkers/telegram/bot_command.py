"""The job `bot_command`: executes a command of the bot that took longer than the bot waits."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar
from uuid import UUID

from streamworkers.config import load_settings
from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job, JobParameters
from streamworkers.engine.outcome import Completed, Event, Item, Outcome
from streamworkers.errors import BadInputError, StreamworkersError
from streamworkers.notifications.content import Content
from streamworkers.notifications.store.answers import find_answer_chat, keep_answer
from streamworkers.results.definition_rows import read_catalogue
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.commands import find_missing_scope
from streamworkers.telegram.execution import execute_command
from streamworkers.telegram.grammar import find_word, parse_command
from streamworkers.telegram.handling import show_error
from streamworkers.telegram.store.links import require_link


class BotCommandParameters(JobParameters):
    """Whose command it is, its text, and the delivery that answers it. A chat is not named: it may be forgotten."""

    user: str
    text: str
    answer: UUID


class BotCommand(Job[BotCommandParameters, BotCommandParameters]):
    """Executes a command of the bot that takes long; `save` writes its answer, so that both happen once."""

    name: ClassVar[str] = "bot_command"
    queue: ClassVar[str] = "notify"
    item_kind: ClassVar = "id"
    parameters: ClassVar[type[JobParameters]] = BotCommandParameters
    batch_size: ClassVar[int] = 1
    timeout_seconds: ClassVar[float] = 120.0

    def execute(
        self, items: Sequence[Item], context: Context[BotCommandParameters]
    ) -> Iterator[Outcome[BotCommandParameters]]:
        """Leave the work to `save`, whose transaction holds what a command changes."""
        for item in items:
            yield Completed(item, context.parameters)

    def save(self, connection: Connection, completed: Sequence[Completed[BotCommandParameters]]) -> Iterable[Event]:
        """Execute the command, and write its answer."""
        for each in completed:
            keep_answer(connection, each.value.user, each.value.answer, _execute(connection, each.value))
        return []


def _execute(connection: Connection, wanted: BotCommandParameters) -> Content:
    """What the command answers; what it changed is undone if it breaks a rule."""
    try:
        with connection.transaction():
            chat = find_answer_chat(connection, wanted.user, wanted.answer)
            if chat is None:
                raise BadInputError("this chat was forgotten")
            link = require_link(connection, wanted.user, int(chat))
            scope = find_missing_scope(find_word(wanted.text, ""), link.scopes)
            if scope is not None:
                raise BadInputError(f"it needs the scope {scope}")
            command = parse_command(wanted.text, read_catalogue(connection))
            return execute_command(connection, Asker(link, load_settings(), read_catalogue), command)
    except StreamworkersError as error:
        return show_error(error)
