"""`/help`, the list of commands that Telegram shows, and commands of parts that do not exist yet."""

from streamworkers.database import Connection
from streamworkers.notifications.content import Content
from streamworkers.telegram.asker import Asker
from streamworkers.telegram.commands import WORDS, NotInRelease, ShowHelp


def answer_help(_: Connection, asker: Asker, command: ShowHelp) -> Content:
    """The commands that this person may give, or one of them."""
    if command.topic is not None:
        word = WORDS[command.topic]
        return Content(word.form, (word.help, *([f"It needs the scope {word.scope}."] if word.scope else [])))
    mine = [word for word in WORDS.values() if word.scope is None or word.scope in asker.link.scopes]
    return Content("Commands", tuple(f"{word.form}: {word.help}" for word in mine))


def answer_later(_: Connection, __: Asker, command: NotInRelease) -> Content:
    """Say that a command is known and does not work yet."""
    return Content(f"/{command.word} is not in this release", ("/help lists what is.",))


def list_bot_commands() -> list[dict[str, str]]:
    """The commands as `setMyCommands` takes them."""
    return [{"command": name, "description": word.help} for name, word in WORDS.items()]
