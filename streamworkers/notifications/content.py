"""What a message says, before any channel has given it a form."""

from typing import Any, NamedTuple, TypeAlias

import msgspec

Part: TypeAlias = dict[str, Any]  # what one call sends, as JSON


class Button(msgspec.Struct, frozen=True, array_like=True):
    """A button below a message: `data` goes back to the bot, up to 64 bytes."""

    text: str
    data: str


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """Plain texts, with values in them as they are: each channel escapes them in its own way, and splits them.

    `lines` are paragraphs. `more` are lines that a short form may leave out, such as the later ones of a digest.
    `is_subscribed`: preferences can turn it off, which codes, tests and answers are not asked about.
    """

    title: str
    lines: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    link: str | None = None
    buttons: tuple[Button, ...] = ()
    is_subscribed: bool = False


class Picture(NamedTuple):
    """A PNG, and what it shows for those who do not see it."""

    data: bytes
    description: str
