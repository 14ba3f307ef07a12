"""What a route gets, and what it gives back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import msgspec

from streamworkers.actor import LOCAL, Actor
from streamworkers.admin.tokens import ApiToken
from streamworkers.api.diagnosing import Diagnoser
from streamworkers.api.event_answers import EventsWanted
from streamworkers.api.problem import Forbidden, Problem
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.streams import Streams
from streamworkers.notifications.channels.channel import MessageChannel
from streamworkers.notifications.channels.registry import load_channels

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose token it is, what it allows, and from where it was presented."""

    token: ApiToken
    actor: Actor

    @property
    def user(self) -> str:
        """The user for whom the token acts."""
        return self.token.user

    @property
    def is_admin(self) -> bool:
        """True if it may see and change what all users own."""
        return "admin" in self.token.scopes

    @property
    def viewer(self) -> str | None:
        """Whose things it sees, beside those of nobody; None stands for all."""
        return None if self.is_admin else self.user

    def require(self, scope: str) -> None:
        """Raise Forbidden without this scope; `admin` includes all."""
        if scope not in self.token.scopes and not self.is_admin:
            raise Forbidden(scope)

    def acting_for(self, user: str | None) -> Actor:
        """Return the actor for this user, None for that of the token. Raises Forbidden for another without `admin`."""
        if user in (None, self.user):
            return self.actor
        self.require("admin")
        return replace(self.actor, user=user, by=self.user)

    def require_own(self, owner: str | None) -> None:
        """Raise Problem if a thing that it sees belongs to nobody, and only an `admin` may change it."""
        if (owner or LOCAL.user) != self.user and not self.is_admin:
            raise Problem(403, "forbidden", "this belongs to no user: it is changed with the scope 'admin'")


@dataclass(frozen=True, slots=True)
class ApiService:
    """What all calls of a process share."""

    settings: Settings
    streams: Streams
    diagnoser: Diagnoser

    @property
    def channels(self) -> Mapping[str, MessageChannel]:
        """The installed channels, loaded when one is first asked for."""
        return _load_channels(self.settings)


@lru_cache(maxsize=1)
def _load_channels(settings: Settings) -> Mapping[str, MessageChannel]:
    return load_channels(settings)


@dataclass(slots=True)
class ApiCall:
    """A request that may be worked on: authenticated, read and checked, in a transaction of its own.

    `after_commit` keeps what is to be done once the transaction is in force, and may fail without harm.
    """

    connection: Connection
    caller: Caller
    service: ApiService
    path: Mapping[str, str]
    query: Any
    body: Any
    headers: Mapping[str, str]
    method: str = "GET"
    after_commit: list[Callable[[Connection], None]] = field(default_factory=list)


@dataclass(slots=True)
class ApiAnswer:
    """What a request is answered with; `body` is encoded as JSON. With `follow`, events of a run are the answer.

    `once` is part of the body as it is sent, and not of what is kept for the same request sent again: a secret.
    """

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    follow: EventsWanted | None = None
    once: dict[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The bytes of the body that may be kept; none for an answer without one."""
        return b"" if self.status in (204, 304) else msgspec.json.encode(self.body)

    def encode_whole(self) -> bytes:
        """The bytes of the body as it is sent."""
        return msgspec.json.encode({**self.body, **self.once}) if self.once else self.encode()
