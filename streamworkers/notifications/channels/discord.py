"""Messages by a webhook of Discord, as plain text with links."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import httpx
import msgspec

from streamworkers.notifications.channels.channel import Address, Limit
from streamworkers.notifications.channels.http import HttpReply, read_retry_after
from streamworkers.notifications.channels.secret_webhook import SecretWebhook
from streamworkers.notifications.channels.text import Lengths, utf16_width, write_pieces
from streamworkers.notifications.content import Content, Part

_MOST_TEXT = 2000
_MOST_PARTS = 5
_MOST_RETRY_SECONDS = 86_400.0
_SIGNS = re.compile(r"(https?://[^\s<>]+)|([\\*_~`|<>\[\]#-])")  # a URL is left as it is
_NO_PREVIEWS = 4


class Discord(SecretWebhook):
    """Messages to the channel that a webhook of Discord belongs to."""

    name: ClassVar[str] = "discord"

    def limits(self, address: Address) -> Sequence[Limit]:
        """Return those of a webhook: five messages in two seconds, and 30 a minute."""
        bucket = self.bucket(address)
        return [Limit(bucket, 5, 2.0), Limit(f"{bucket}:minute", 30, 60.0)]

    def render(self, content: Content, address: Address, *, has_picture: bool) -> list[Part]:
        """Return messages whose signs of formatting are escaped, and which mention nobody."""
        del address, has_picture
        lengths = Lengths(_MOST_TEXT, _MOST_TEXT, _MOST_PARTS, _width)
        return [
            {"content": _escape(piece.text), "allowed_mentions": {"parse": []}, "flags": _NO_PREVIEWS}
            for piece in write_pieces(content, lengths)
        ]

    def complete_url(self, url: httpx.URL) -> httpx.URL:
        """Return the URL with which Discord answers with the message's id."""
        return url.copy_merge_params({"wait": "true"})

    def read_id(self, reply: HttpReply) -> str | None:
        """Return the id of the message."""
        identifier = _read(reply).get("id")
        return identifier if isinstance(identifier, str) else None

    def read_reason(self, reply: HttpReply) -> str:
        """Return Discord's number for it, such as 10015 for a webhook that is gone."""
        code = _read(reply).get("code")
        return f", code {code}" if isinstance(code, int) else ""

    def read_wait(self, reply: HttpReply) -> float:
        """Return the seconds of Discord's answer, which are more exact than its header."""
        seconds = _read(reply).get("retry_after")
        if isinstance(seconds, int | float) and 0 < seconds <= _MOST_RETRY_SECONDS:
            return float(seconds)
        return read_retry_after(reply.headers) or 1.0


def _read(reply: HttpReply) -> dict[str, Any]:
    try:
        return msgspec.json.decode(reply.body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def _escape(text: str) -> str:
    return _SIGNS.sub(lambda found: found[1] or f"\\{found[2]}", text)


def _width(character: str) -> int:
    return utf16_width(character) + (_escape(character) != character)
