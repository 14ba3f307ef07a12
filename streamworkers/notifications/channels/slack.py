"""Messages by an incoming webhook of Slack, as plain text with links."""

import re
from collections.abc import Sequence
from html import escape
from typing import ClassVar

from streamworkers.notifications.channels.channel import Address, Limit
from streamworkers.notifications.channels.http import HttpReply
from streamworkers.notifications.channels.secret_webhook import SecretWebhook
from streamworkers.notifications.channels.text import Lengths, write_pieces
from streamworkers.notifications.content import Content, Part

_MOST_TEXT = 3000  # Slack folds longer ones, and cuts them off at 40,000
_MOST_PARTS = 5
_WORD = re.compile(rb"[a-z_]{1,60}")  # as Slack names what is wrong


class Slack(SecretWebhook):
    """Messages to the channel that a webhook of Slack belongs to."""

    name: ClassVar[str] = "slack"

    def limits(self, address: Address) -> Sequence[Limit]:
        """Return that of a webhook: one message a second."""
        return [Limit(self.bucket(address), 1, 1.0)]

    def render(self, content: Content, address: Address, *, has_picture: bool) -> list[Part]:
        """Return messages without any formatting: Slack has no way to write its signs as they are."""
        del address, has_picture
        lengths = Lengths(_MOST_TEXT, _MOST_TEXT, _MOST_PARTS, lambda character: len(_escape(character)))
        return [
            {"text": _escape(piece.text), "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
            for piece in write_pieces(content, lengths)
        ]

    def read_reason(self, reply: HttpReply) -> str:
        """Return Slack's word for it, such as `channel_is_archived`."""
        return f": {reply.body.decode()}" if _WORD.fullmatch(reply.body) else ""


def _escape(text: str) -> str:
    return escape(text, quote=False)
