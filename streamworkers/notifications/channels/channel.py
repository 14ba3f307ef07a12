"""What a channel is: how it forms messages, which limits its provider has, and how it sends one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from streamworkers.config import Settings
from streamworkers.engine.outside import NotDoneError, Policy
from streamworkers.notifications.content import Content, Part, Picture


class Limit(NamedTuple):
    """At most `calls` in any `seconds`, for all messages whose limits have the same `bucket`."""

    bucket: str
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message goes: an endpoint as a channel sees it."""

    address: str
    settings: Mapping[str, Any]


class NotSentError(NotDoneError):
    """It is certain that the provider has not taken the message.

    `permanent`: no other attempt can succeed. `retry_after`: seconds that the provider asks to wait, and `bucket`, of
    which limit. `endpoint_off`: nothing can be sent to this endpoint any more. `moved_to`: its address now; the message
    can be sent there at once.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        retry_after: float | None = None,
        bucket: str | None = None,
        endpoint_off: bool = False,
        moved_to: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.permanent = permanent or endpoint_off
        self.retry_after = retry_after
        self.bucket = bucket
        self.endpoint_off = endpoint_off
        self.moved_to = moved_to


class MessageChannel(ABC):
    """A way to reach somebody. Its name is that of its entry point in `streamworkers.channels`.

    One instance lives in each process and is used by several threads. `policy` says what happens to a message of which
    nobody knows whether it was sent: it is sent again, or held. `retry_seconds` are the waits before another attempt,
    after which the delivery is dead.
    """

    name: ClassVar[str]
    policy: ClassVar[Policy] = "retry"
    retry_seconds: ClassVar[Sequence[float]] = (5, 30, 120, 600, 1800, 3600)
    takes_pictures: ClassVar[bool] = False
    call_seconds: ClassVar[float] = 20.0  # the longest time of a call

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def check_address(self, address: str, options: Mapping[str, Any]) -> Address:
        """Return the address in its canonical form, with its settings. Raises BadInputError for one that cannot be."""

    def show_address(self, address: Address) -> str:
        """Return what a person may see of it; without secrets."""
        return address.address

    def find_missing_setting(self, address: Address) -> str | None:
        """Return a sentence about a variable that is not set in this process, and without which it can send nothing.

        `send` raises NotSentError with it, for good: another attempt would not find it set either.
        """
        del address
        return None

    @abstractmethod
    def limits(self, address: Address) -> Sequence[Limit]:
        """Return the limits of the provider that a message to this address counts against.

        The first one is held when a call hangs: the narrowest that a hanging provider stands for.
        """

    @abstractmethod
    def render(self, content: Content, address: Address, *, has_picture: bool) -> list[Part]:
        """Return what is sent, one element for each call, in their order; each within the limits of its length.

        A picture goes with the first part.
        """

    @abstractmethod
    def send(self, part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        """Send one part, and return the provider's id of it.

        Raises NotSentError if it was certainly not taken; any other error means that nobody knows. It is called in a
        thread, returns within `call_seconds`, and its errors hold no secret.
        """

    def close(self) -> None:  # noqa: B027  # most channels keep nothing
        """Close connections that are kept between messages."""
