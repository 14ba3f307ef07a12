"""Who gives a command, and what its execution needs."""

from collections.abc import Callable
from dataclasses import dataclass

from streamworkers.actor import Actor
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.rules.vocabulary import Vocabulary
from streamworkers.telegram.store.links import Link


@dataclass(frozen=True, slots=True)
class Asker:
    """A linked person in a chat; every change is one of the link's user, by way of the bot."""

    link: Link
    settings: Settings
    vocabulary: Callable[[Connection], Vocabulary]

    @property
    def actor(self) -> Actor:
        """The actor of every change that the person asks for."""
        return Actor(self.link.user, "bot")
