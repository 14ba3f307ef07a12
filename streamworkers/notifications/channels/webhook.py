"""Webhooks by the specification Standard Webhooks: JSON, signed, with an id by which receivers know a repetition."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import httpx
import msgspec

from streamworkers.config import Settings
from streamworkers.errors import BadInputError
from streamworkers.notifications.channels.channel import Address, Limit, MessageChannel, NotSentError
from streamworkers.notifications.channels.http import AnswerBound, HttpCaller, read_retry_after
from streamworkers.notifications.channels.public_addresses import PublicBackend
from streamworkers.notifications.channels.references import (
    find_unset_reference,
    is_reference,
    read_reference,
    require_reference,
)
from streamworkers.notifications.channels.text import clean_characters
from streamworkers.notifications.content import Content, Part, Picture

_SECRET = "secret"  # noqa: S105  # the name of a setting
_PREFIX = "whsec_"
_MOST_SECRETS = 5
_MOST_CHARACTERS = 200_000


class Webhook(MessageChannel):
    """Calls to a URL. `secret` names the variables with the secrets that sign it: `env:NAME`, or a list of these.

    The address may itself be `env:NAME`, where the URL is a secret. While secrets change, two sign at once.
    """

    name: ClassVar[str] = "webhook"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._caller = self.make_caller()

    def make_caller(self) -> HttpCaller:
        """Return what calls receivers: private addresses only where the settings allow them."""
        backend = None if self.settings.webhook_private else PublicBackend
        return HttpCaller(32, backend, bound=AnswerBound.of(self.settings))

    def check_address(self, address: str, options: Mapping[str, Any]) -> Address:
        """Return the URL, or the reference to one, with the references to its secrets."""
        url = address.strip()
        if not is_reference(url):
            url = str(_parse(url, BadInputError))
        unknown = sorted(set(options) - {_SECRET})
        if unknown:
            raise BadInputError(f"the channel webhook has no setting {unknown[0]!r}; it has {_SECRET}")
        given = options.get(_SECRET)
        secrets = given if isinstance(given, list) else [given]
        if not 1 <= len(secrets) <= _MOST_SECRETS:
            raise BadInputError(f"{_SECRET} has {len(secrets)} references, not 1 to {_MOST_SECRETS}")
        return Address(url, {_SECRET: [require_reference(_SECRET, each) for each in secrets]})

    def show_address(self, address: Address) -> str:
        """Return the host alone: what follows it may be a secret."""
        if is_reference(address.address):
            return address.address
        url = httpx.URL(address.address)
        return f"{url.scheme}://{url.host}/…"

    def find_missing_setting(self, address: Address) -> str | None:
        """The first variable that is named and not set, of the URL or of a secret."""
        return find_unset_reference([address.address, *address.settings.get(_SECRET, ())])

    def limits(self, address: Address) -> Sequence[Limit]:
        """Return what a receiver should bear, and its host. It is slowed by its answers 429 and 503, and no other."""
        return [Limit(self._bucket(address), 10, 1.0), Limit(f"webhook:{_host_of(address)}", 30, 1.0)]

    def render(self, content: Content, address: Address, *, has_picture: bool) -> list[Part]:
        """Return one call with the texts as JSON."""
        del address, has_picture
        room = _MOST_CHARACTERS - len(content.title) - sum(map(len, content.lines))
        more = []
        for line in content.more:
            room -= len(line)
            if room < 0:
                break
            more.append(clean_characters(line))
        data = {
            "title": clean_characters(content.title),
            "lines": [clean_characters(line)[:_MOST_CHARACTERS] for line in content.lines],
            "more": more,
            "left_out": len(content.more) - len(more),
            "link": content.link,
        }
        body = {"type": "notification", "timestamp": datetime.now(UTC).isoformat(), "data": data}
        return [{"body": msgspec.json.encode(body).decode()}]

    def send(self, part: Part, address: Address, *, delivery: UUID, picture: Picture | None) -> str | None:
        """Call the receiver. Each answer but 2xx is a no: the specification says so, and it knows a repetition."""
        del picture
        text = read_reference(address.address) if is_reference(address.address) else address.address
        url = _parse(text, NotSentError)
        body = str(part["body"]).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": "streamworkers",
            **sign(str(delivery), int(time.time()), body, [_read_secret(each) for each in address.settings[_SECRET]]),
        }
        reply = self._caller.post(url, seconds=self.call_seconds - 1, content=body, headers=headers)
        if 200 <= reply.status < 300:
            return str(delivery)
        reason = f"the receiver answered {reply.status}"
        if 300 <= reply.status < 400:
            raise NotSentError(f"{reason}, and redirects are not followed", permanent=True)
        if reply.status in (429, 503):
            wait = read_retry_after(reply.headers)
            raise NotSentError(reason, retry_after=wait, bucket=None if wait is None else self._bucket(address))
        raise NotSentError(reason, permanent=reply.status < 500, endpoint_off=reply.status == 410)

    def close(self) -> None:
        """Close the connections to receivers."""
        self._caller.close()

    def _bucket(self, address: Address) -> str:
        """The name of a receiver's own limit, without its URL, which may be a secret."""
        return f"webhook:{_host_of(address)}:{hashlib.sha256(address.address.encode()).hexdigest()[:16]}"


def _host_of(address: Address) -> str:
    return address.address if is_reference(address.address) else httpx.URL(address.address).netloc.decode()


def sign(identifier: str, timestamp: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """Return the headers of a call, with a signature for each secret."""
    signed = f"{identifier}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets]
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _read_secret(reference: str) -> bytes:
    text = read_reference(reference)
    if not text.startswith(_PREFIX):
        return text.encode()
    try:
        return base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        wrong = f"what follows whsec_ in {reference.removeprefix('env:')} is not base64"
        raise NotSentError(wrong, permanent=True) from None


def _parse(text: str, error: type[BadInputError | NotSentError]) -> httpx.URL:
    """Return the URL of a receiver. Raises `error`, which does not show it: it may hold a secret."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, UnicodeError):
        url = None
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise error("the address of a webhook is not a URL as https://example.com/hooks")
    if url.userinfo:
        raise error("the URL of a webhook has a user or password, which are no part of it")
    return url.copy_with(fragment=None)
