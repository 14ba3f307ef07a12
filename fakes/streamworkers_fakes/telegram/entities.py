"""The HTML of Telegram's messages, read as strictly as the Bot API does."""

import re
from html import unescape
from typing import Final

TAGS: Final = frozenset(
    "b strong i em u ins s strike del a code pre blockquote span tg-spoiler tg-emoji".split()  # noqa: SIM905
)
_TOKEN = re.compile(r"<(/?)([^<>]*)(>?)|([^<]+)")
_NAMED = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});")


class EntityError(Exception):
    """The text cannot be parsed; the message is that of the Bot API."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"Bad Request: can't parse entities: {detail}")


def utf16_length(text: str) -> int:
    """Return the length that Telegram counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def read_html(html: str) -> str:
    """Return the text of a message as people see it. Raises EntityError."""
    text: list[str] = []
    open_tags: list[str] = []
    for found in _TOKEN.finditer(html):
        slash, inside, closed, plain = found.groups()
        if plain is not None:
            text.append(_NAMED.sub(lambda match: unescape(match[0]), plain))
            continue
        offset = len(html[: found.start()].encode())
        name = inside.split()[0].lower() if inside.split() else ""
        if not closed:
            raise EntityError(f"Unclosed start tag at byte offset {offset}")
        if name not in TAGS:
            kind = "end" if slash else "start"
            raise EntityError(f'Unsupported {kind} tag "{name}" at byte offset {offset}')
        if not slash:
            open_tags.append(name)
        elif not open_tags:
            raise EntityError(f"Unexpected end tag at byte offset {offset}")
        elif open_tags.pop() != name:
            raise EntityError(f'Unmatched end tag at byte offset {offset}, found "</{name}>"')
    if open_tags:
        raise EntityError(f'Can\'t find end tag corresponding to start tag "{open_tags[-1]}"')
    return "".join(text)
