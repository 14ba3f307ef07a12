"""Incoming webhooks of chat services: their URL is a secret, so that an address is `env:NAME`."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

import httpx

from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.notifications.channels.channel import Address, MessageChannel, NotSentError
from streamworkers.notifications.channels.http import (
    AnswerBound,
    HttpCaller,
    HttpReply,
    NoAnswerError,
    read_retry_after,
)
from streamworkers.notifications.channels.references import find_unset_reference, read_reference, require_reference
from streamworkers.notifications.content import Part, Picture

_LOCAL = ("127.0.0.1", "localhost", "::1")


class SecretWebhook(MessageChannel):
    """Messages to the URL that a variable holds. Answers 401, 403, 404 and 410 mean that there is no such webhook."""

    gone: ClassVar[frozenset[int]] = frozenset({401, 403, 404, 410})

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._caller = HttpCaller(32, bound=AnswerBound.of(settings))

    def check_address(self, address: str, options: Mapping[str, Any]) -> Address:
        """Return a reference to a URL."""
        if options:
            raise BadInputError(f"the channel {self.name} has no setting {min(options)!r}; it has none")
        return Address(require_reference(f"the URL of a webhook of {self.name}", address.strip()), {})

    def find_missing_setting(self, address: Address) -> str | None:
        """The variable that holds the URL, if it is not set."""
        return find_unset_reference([address.address])

    def send(self, part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        """Send one part. An answer 5xx leaves open whether it was taken."""
        del delivery, picture
        url = self.complete_url(self._read_url(address))
        reply = self._caller.post(url, seconds=self.call_seconds - 1, json=part)
        if 200 <= reply.status < 300:
            return self.read_id(reply)
        reason = f"{self.name} answered {reply.status}{self.read_reason(reply)}"
        if reply.status >= 500:
            raise NoAnswerError(reason)
        if reply.status == 429:
            wait = self.read_wait(reply)
            raise NotSentError(reason, retry_after=wait, bucket=self.bucket(address))
        raise NotSentError(reason, permanent=True, endpoint_off=reply.status in self.gone)

    def complete_url(self, url: httpx.URL) -> httpx.URL:
        """Return the URL with the parameters that a call needs."""
        return url

    @abstractmethod
    def read_reason(self, reply: HttpReply) -> str:
        """Return what the service says of a no, with a blank before it; empty if it says nothing known."""

    def read_id(self, reply: HttpReply) -> str | None:
        """Return the id of a message that was taken, if the service names one."""
        del reply
        return None

    def read_wait(self, reply: HttpReply) -> float:
        """Return the seconds that the service asks to wait."""
        return read_retry_after(reply.headers) or 1.0

    def bucket(self, address: Address) -> str:
        """Return the name of the limit of a webhook, by its reference."""
        return f"{self.name}:{address.address}"

    def close(self) -> None:
        """Close the connections to the service."""
        self._caller.close()

    def _read_url(self, address: Address) -> httpx.URL:
        name = address.address.removeprefix("env:")
        try:
            url = httpx.URL(read_reference(address.address))
        except (httpx.InvalidURL, UnicodeError):
            url = httpx.URL()
        is_safe = url.scheme == "https" or (url.scheme == "http" and url.host in _LOCAL)
        if not is_safe or not url.host or url.userinfo:
            raise NotSentError(f"what {name} holds is not the URL of a webhook, as https://…", permanent=True)
        return url.copy_with(fragment=None)
