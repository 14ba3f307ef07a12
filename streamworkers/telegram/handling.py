"""One update is one transaction: its row, its effects, its answers and the offset."""

import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

import psycopg

from streamworkers.actor import Actor
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.errors import StreamworkersError
from streamworkers.faults import describe
from streamworkers.logger import get_logger
from streamworkers.notifications.content import Content
from streamworkers.notifications.store.accounts import find_disabled
from streamworkers.notifications.store.answers import add_answer
from streamworkers.rules.vocabulary import Vocabulary
from streamworkers.telegram.alert_commands import answer_delete
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.callbacks import Confirmation, parse_callback
from streamworkers.telegram.command_runs import can_run, start_command
from streamworkers.telegram.commands import WORDS, Command, LinkChat, changes_something, find_missing_scope
from streamworkers.telegram.execution import execute_command
from streamworkers.telegram.grammar import find_word, parse_command
from streamworkers.telegram.incoming import Incoming, MovedChat, read_update
from streamworkers.telegram.rejections import note_rejected
from streamworkers.telegram.store.confirmations import confirm
from streamworkers.telegram.store.link_codes import use_code
from streamworkers.telegram.store.links import (
    Link,
    Place,
    add_link,
    find_link,
    follow_topic,
    move_chat,
    require_endpoint,
    start_messages,
)
from streamworkers.telegram.store.privacy import forget_chat
from streamworkers.telegram.store.updates import claim_update, count_commands, note_command

log = get_logger()
OLD_SECONDS = 300
MOST_COMMANDS = 20  # of a user in a minute
STATEMENT_SECONDS = 2
_NOT_LINKED = (
    "This chat is not linked. Ask those who run streamworkers for a code, and send /start CODE"
    " (on the command line: streamworkers telegram code USER)."
)


class PlainText(NamedTuple):
    """A text to a chat that has no endpoint, sent once or not at all."""

    chat_id: int
    text: str


class Handled(NamedTuple):
    """What an update has led to: `outcome` is the label of its metric.

    `answers` are deliveries; `press` is the button to stop turning, with a short text.
    """

    outcome: str
    answers: tuple[uuid.UUID, ...] = ()
    plain: PlainText | None = None
    press: tuple[str, str] | None = None


class Bot(NamedTuple):
    """The bot that updates are for, and what the execution of commands needs."""

    id: int
    name: str
    settings: Settings
    vocabulary: Callable[[Connection], Vocabulary]


class _Reply(NamedTuple):
    """The answer to a linked person; no delivery where the endpoint is gone (`is_plain`)."""

    content: Content
    outcome: str
    is_plain: bool = False


def handle_update(connection: Connection, bot: Bot, update: dict[str, object]) -> Handled:
    """Handle an update once; raises what PostgreSQL raises if it is away, and then nothing has happened."""
    number = update["update_id"]
    assert isinstance(number, int)
    incoming = read_update(update)
    with connection.transaction():
        connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
        if not claim_update(connection, bot.id, number):
            return Handled("repeated")
        if incoming is None:
            return Handled("ignored")
        if isinstance(incoming, MovedChat):
            move_chat(connection, bot.id, incoming.chat_id, incoming.new_chat_id)
            return Handled("moved")
        return _handle_safely(_UpdateHandler(connection, bot, number, incoming), connection, number)


def _handle_safely(handler: "_UpdateHandler", connection: Connection, number: int) -> Handled:
    """Handle an update so that it holds up nobody: one that fails counts as handled, and has changed nothing."""
    try:
        with connection.transaction():
            return handler.handle()
    except Exception as error:
        if connection.closed or connection.broken:
            raise
        log.warning("update_failed", update=number, error=describe(error), exc_info=error)
        return Handled("failed")


class _UpdateHandler:
    """The steps of one update of a person, in its transaction."""

    def __init__(self, connection: Connection, bot: Bot, number: int, incoming: Incoming) -> None:
        self._connection, self._bot, self._number, self._incoming = connection, bot, number, incoming
        self._place = Place(bot.id, incoming.telegram_user, incoming.chat_id)

    def handle(self) -> Handled:
        """Do what is asked if it may be done, and say what was done."""
        incoming = self._incoming
        link = find_link(self._connection, self._place)
        word = None if incoming.press else find_word(incoming.text, self._bot.name)
        if incoming.press is None and word is None:
            return self._no_command(link)
        if link is None or word == "start":
            return self._link(link, word)
        if incoming.is_group and word is not None and word not in WORDS and "@" not in incoming.text:
            return Handled("ignored")  # of another bot in this group
        if find_disabled(self._connection, [link.user]):
            return Handled("ignored")
        if self._incoming.is_group:
            follow_topic(self._connection, link, self._incoming.topic)
        if (limited := self._limit(link)) is not None:
            return limited
        reply = self._execute(link)
        note_rejected(self._connection, link.user, incoming.text, word, reply.outcome, reply.content.title)
        return self._answer(link, reply)

    def _limit(self, link: Link) -> Handled | None:
        """Count what is answered; from a number on nothing is, and once the answer is that."""
        note_command(self._connection, self._bot.id, self._number, link.user)
        count = count_commands(self._connection, link.user, 60)
        if count <= MOST_COMMANDS:
            return None
        text = f"More than {MOST_COMMANDS} commands in a minute: wait a little"
        return self._answer(link, _Reply(Content(text), "limited")) if count == MOST_COMMANDS + 1 else self._silent()

    def _execute(self, link: Link) -> _Reply:
        """Execute a command; what it changed is undone if it fails, and the failure is the answer."""
        try:
            with self._connection.transaction():
                return self._press(link) if self._incoming.press else self._command(link)
        except StreamworkersError as error:
            return _Reply(show_error(error), "rejected")
        except psycopg.errors.QueryCanceled:
            return self._start_run(link)
        except Exception as error:
            if self._connection.closed or self._connection.broken:
                raise
            log.warning("command_failed", update=self._number, error=describe(error), exc_info=error)
            return _Reply(
                Content("That did not work", ("Nothing was changed. It is in the log of the bot.",)), "failed"
            )

    def _start_run(self, link: Link) -> _Reply:
        """Let a run execute what takes long; its answer is a second message."""
        try:
            with self._connection.transaction():
                if not self._incoming.press:
                    command = parse_command(self._incoming.text, self._bot.vocabulary(self._connection))
                    if can_run(command):
                        return _Reply(start_command(self._connection, link, command), "done")
                hint = "The command line has no such limit."
        except StreamworkersError as error:
            hint = str(error)
        title = f"That took longer than {STATEMENT_SECONDS} s"
        return _Reply(Content(title, ("Nothing was changed.", hint)), "failed")

    def _command(self, link: Link) -> _Reply:
        asker = Asker(link, self._bot.settings, self._bot.vocabulary)
        command = parse_command(self._incoming.text, self._bot.vocabulary(self._connection))
        if (refusal := self._refuse(link, command)) is not None:
            return refusal
        return _Reply(execute_command(self._connection, asker, command), "done")

    def _refuse(self, link: Link, command: Command) -> _Reply | None:
        word = find_word(self._incoming.text, self._bot.name)
        if (scope := find_missing_scope(word, link.scopes)) is not None:
            hint = f"It needs the scope {scope}: streamworkers telegram code {link.user} --scope {scope}"
            return _Reply(Content(f"/{word} is not for you", (hint,)), "rejected")
        age = self._age()
        if changes_something(command) and age > OLD_SECONDS:
            return _Reply(Content(f"Sent {_show_age(age)} ago, so nothing was done: send it again"), "old")
        return None

    def _press(self, link: Link) -> _Reply:
        asker = Asker(link, self._bot.settings, self._bot.vocabulary)
        pressed = parse_callback(self._incoming.text)
        if not isinstance(pressed, Confirmation):
            return _Reply(execute_command(self._connection, asker, pressed), "done")
        found = confirm(self._connection, self._place, pressed.question)
        if found.action == "delete" and found.subject is not None:
            return _Reply(answer_delete(self._connection, asker, found.subject), "done")
        if found.action == "forget":
            forget_chat(self._connection, asker.actor, link)
            return _Reply(Content("Forgotten: nothing is stored about this chat any more"), "done", is_plain=True)
        return _Reply(Content(found.trouble[:1].upper() + found.trouble[1:]), "rejected")

    def _link(self, link: Link | None, word: str | None) -> Handled:
        """Use a code up, or say how to get one; in a group those who are not linked are answered only if they try."""
        code = self._read_code() if word == "start" else None
        if code is None:
            if link is not None:
                start_messages(self._connection, link)
                return self._limit(link) or self._answer(link, _Reply(_greeting(link), "done"))
            return self._tell(_NOT_LINKED) if not self._incoming.is_group and word else self._silent()
        if self._age() > OLD_SECONDS:
            return self._tell(f"Sent {_show_age(self._age())} ago, so nothing was done: send it again")
        used = use_code(self._connection, self._place, code)
        if used.user is None and self._incoming.is_group:
            return Handled("not_linked")
        if used.user is None:
            return self._tell(f"Not linked: {used.trouble}.")
        actor = Actor(used.user, "bot")
        made = add_link(self._connection, actor, self._place, used.scopes, self._incoming.topic)
        return self._answer(made, _Reply(_greeting(made), "linked"))

    def _read_code(self) -> str | None:
        try:
            command = parse_command(self._incoming.text, self._bot.vocabulary(self._connection))
        except StreamworkersError:
            return ""
        return command.code if isinstance(command, LinkChat) else None

    def _no_command(self, link: Link | None) -> Handled:
        if link is None or self._incoming.is_group:
            return Handled("ignored")
        hint = _Reply(Content("Commands begin with /", ("/help lists them.",)), "rejected")
        return self._limit(link) or self._answer(link, hint)

    def _answer(self, link: Link, reply: _Reply) -> Handled:
        press = (self._incoming.press, reply.content.title) if self._incoming.press else None
        if reply.is_plain:
            return Handled(reply.outcome, plain=PlainText(self._incoming.chat_id, reply.content.title), press=press)
        endpoint = require_endpoint(self._connection, link)
        return Handled(reply.outcome, (add_answer(self._connection, endpoint, reply.content),), press=press)

    def _tell(self, text: str) -> Handled:
        return Handled("not_linked", plain=PlainText(self._incoming.chat_id, text))

    def _silent(self) -> Handled:
        press = (self._incoming.press, "") if self._incoming.press else None
        return Handled("ignored", press=press)

    def _age(self) -> float:
        return 0.0 if self._incoming.sent_at is None else time.time() - self._incoming.sent_at


def _greeting(link: Link) -> Content:
    scopes = f", with the scopes {', '.join(link.scopes)}" if link.scopes else ""
    return Content(f"Linked with user {link.user}{scopes}", ("/help lists what you can ask for.",))


def show_error(error: StreamworkersError) -> Content:
    """What is answered when something breaks a rule."""
    first, *rest = str(error).split("\n")
    return Content("Not done", (first, *(["\n".join(rest)] if rest else [])))


def _show_age(seconds: float) -> str:
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 60:.0f} min"
