"""The author's part of calls to the outside, and what is known of a call."""

import math
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Generic, Literal, NamedTuple, TypeAlias

from typing_extensions import TypeVar

from streamworkers.database import Connection

Policy: TypeAlias = Literal["retry", "hold"]
T = TypeVar("T")
V = TypeVar("V")


class Claim(StrEnum):
    """How a claim found its thing. Except for a closed one, it is claimed with the new token now."""

    FREE = "free"  # nobody's
    TAKEN = "taken"  # claimed with another token, so that a call may have been made
    CLOSED = "closed"  # there is nothing to call any more


class Answer(StrEnum):
    """What is known of a call."""

    YES = "yes"  # it took effect
    NO = "no"  # it took no effect, and can be made again
    UNKNOWN = "unknown"  # it may have taken effect


class NotDoneError(Exception):
    """Raised by `call` when it is certain that nothing took effect, such as when the receiver rejects it."""


class Reply(NamedTuple, Generic[V]):
    """The answer to one call: what `call` returned for a yes, else the reason, and the error of a no.

    `ambiguous` is true if the thing was found claimed by another, or if this call's own answer is unknown.
    """

    answer: Answer
    value: V | None = None
    reason: str = ""
    ambiguous: bool = False
    error: NotDoneError | None = None


class Later(NamedTuple):
    """Among the things to call for: none is due for so many seconds. Calls that end meanwhile are recorded."""

    seconds: float


class Result(NamedTuple, Generic[T, V]):
    """What happened to a thing. `reply` is None for one that was closed already.

    `recorded` is false if another worker claimed the thing during the call: its answer counts then, not this one.
    """

    thing: T
    reply: Reply[V] | None
    recorded: bool = True


class Outside(ABC, Generic[T, V]):
    """The author's part: the statements of a table of things to call for, and the call.

    The table needs a column for the claim. `claim` and `record` each run in a transaction of their own, in the thread
    of the handler. `leaves_after` are the seconds after which calls may be left, so that others need not wait for them.
    """

    leaves_after = math.inf

    @abstractmethod
    def claim(self, connection: Connection, thing: T, token: uuid.UUID) -> Claim:
        """Store the token with the thing unless it is closed, and return how it was found.

        It must lock the row that it reads: of two workers that claim at once one must find the other's token.
        """

    @abstractmethod
    def call(self, thing: T, token: uuid.UUID) -> V:
        """Call the outside, with a time limit well below that of the job; with several threads, in one of them.

        Returns if it took effect, raises NotDoneError if it certainly took none; any other error means that nobody
        knows. It must not use the connection.
        """

    def leave(self, connection: Connection, thing: T, token: uuid.UUID) -> "Late[T, V] | None":
        """Called for a call that is under way for longer than `leaves_after`; None: it is waited for.

        With what is returned its answer is recorded when it comes, by the calling thread, on a connection of its own.
        Until then the thing is claimed, and who reads it must know that its caller may be alive.
        """
        del connection, thing, token
        return None

    @abstractmethod
    def record(self, connection: Connection, thing: T, token: uuid.UUID, reply: Reply[V]) -> bool:
        """Store the answer `WHERE claim = token`; returns whether a row had this claim.

        It clears the claim with an answer that is yes or no, and of what is held. If it keeps the claim of an unknown
        answer, the next claim finds it taken.
        """


class Late(NamedTuple, Generic[T, V]):
    """How the answer of a call is recorded that was not waited for."""

    outside: Outside[T, V]
    connect: Callable[[], AbstractContextManager[Connection]]
