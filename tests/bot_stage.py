"""A bot without a process: updates are handled one after the other, and what it would send is read from the tables."""

import itertools
import time
from typing import Any

from streamworkers.actor import Actor
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.results.definition_rows import read_catalogue
from streamworkers.telegram.handling import Bot, Handled, handle_update
from streamworkers.telegram.store.link_codes import make_code

BOT_ID, BOT_NAME = 77, "StreamBot"
ANN, BOB, GROUP = 1001, 1002, -2001  # people, whose private chats have their numbers, and a group


class BotStage:
    """Says things to a bot, and remembers what it answered."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.connection = connection
        self.bot = Bot(BOT_ID, BOT_NAME, settings, read_catalogue)
        self._numbers = itertools.count(1)

    def message(
        self, text: str, person: int = ANN, chat: int | None = None, *, age: float = 0, changed: Any = None
    ) -> Any:
        """Return an update with a message, some of whose fields are changed."""
        place = person if chat is None else chat
        message = {
            "message_id": 1,
            "from": {"id": person, "is_bot": False, "first_name": "A"},
            "chat": {"id": place, "type": "private" if place > 0 else "supergroup"},
            "date": int(time.time() - age),
            "text": text,
        }
        return {"update_id": next(self._numbers), "message": message | (changed or {})}

    def press_of(self, data: str, person: int = ANN, chat: int | None = None) -> Any:
        """Return an update with a pressed button."""
        place = person if chat is None else chat
        message = {"message_id": 1, "chat": {"id": place, "type": "private" if place > 0 else "supergroup"}, "date": 1}
        query = {"id": "p1", "from": {"id": person, "is_bot": False}, "message": message, "data": data}
        return {"update_id": next(self._numbers), "callback_query": query}

    def handle(self, update: Any) -> Handled:
        """Handle an update as the process does."""
        return handle_update(self.connection, self.bot, update)

    def say(self, text: str, person: int = ANN, chat: int | None = None, *, age: float = 0) -> str:
        """Say something, and return what is answered, in lines; empty without an answer."""
        return self.answer(self.handle(self.message(text, person, chat, age=age)))

    def press(self, data: str, person: int = ANN, chat: int | None = None) -> str:
        """Press a button, and return what is answered."""
        return self.answer(self.handle(self.press_of(data, person, chat)))

    def answer(self, handled: Handled) -> str:
        """The text of what an update is answered with."""
        if handled.plain is not None:
            return handled.plain.text
        found = [self.content(each) for each in handled.answers]
        return "\n".join("\n".join([each["title"], *each.get("lines", ())]) for each in found)

    def content(self, delivery: Any) -> dict[str, Any]:
        """What a delivery says."""
        row = self.connection.execute("SELECT content FROM deliveries WHERE id = %s", (delivery,)).fetchone()
        assert row is not None
        content: dict[str, Any] = row[0]
        return content

    def button(self, handled: Handled) -> str:
        """What the only button below an answer sends back."""
        ((_, data),) = self.content(handled.answers[0])["buttons"]
        return str(data)

    def code(self, user: str = "ann", *scopes: str) -> str:
        """A fresh code, as the command line makes it."""
        return make_code(self.connection, Actor("local"), user, scopes)

    def link(self, person: int = ANN, user: str = "ann", chat: int | None = None, *scopes: str) -> None:
        """Link a person in a chat."""
        assert self.say(f"/start {self.code(user, *scopes)}", person, chat).startswith(f"Linked with user {user}")
