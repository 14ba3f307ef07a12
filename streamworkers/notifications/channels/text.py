"""The text of a message, and where it may be cut: at paragraphs, lines and words, else between characters."""

import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

from streamworkers.notifications.content import Content

_BREAKS = ("\n\n", "\n", " ")
_MOST_OF_A_CHARACTER = 32  # code points that are seen as one
_JOINER = "\u200d"
_CUT_OFF = "\n…"
_MOST_REASON = 2000


class Piece(NamedTuple):
    """What one message says: the part of the title in it, which is set off, and the rest."""

    title: str
    rest: str

    @property
    def text(self) -> str:
        """Both, as they follow each other."""
        return self.title + self.rest


class Lengths(NamedTuple):
    """How long messages may be: the first, the others, and how many of them; `width` is that of one code point."""

    first: int
    other: int
    most: int
    width: Callable[[str], int]


def utf16_width(character: str) -> int:
    """Return the UTF-16 units of a code point."""
    return 2 if ord(character) > 0xFFFF else 1


def write_pieces(content: Content, lengths: Lengths) -> list[Piece]:
    """Return the messages of a content; of `more`, as many lines as fit, and the number of those left out.

    What does not fit although no line of `more` is left is cut off, and ends with `…`.
    """
    kept = len(content.more)
    pieces = _cut_all(content, kept, lengths)
    if len(pieces) > lengths.most:
        fitting, failing = 0, kept  # a bisection: with `failing` lines it is too long
        while failing - fitting > 1:
            middle = (fitting + failing) // 2
            if len(_cut_all(content, middle, lengths)) > lengths.most:
                failing = middle
            else:
                fitting = middle
        pieces = _cut_all(content, fitting, lengths)
    if len(pieces) > lengths.most:
        pieces = pieces[: lengths.most]
        last = pieces[-1]
        room = (lengths.first if len(pieces) == 1 else lengths.other) - sum(map(lengths.width, _CUT_OFF))
        end = _fitting(last.text, 0, room, lengths.width)
        pieces[-1] = Piece(last.title[:end], last.text[len(last.title[:end]) : end] + _CUT_OFF)
    return pieces


def clean_characters(text: str) -> str:
    """Return a text without control characters and halves of surrogate pairs, which providers reject or change."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        "\ufffd" if unicodedata.category(each) in ("Cc", "Cs") and each not in "\n\t" else each for each in text
    )


def clean_reason(text: str) -> str:
    """Return what a provider says in a form that can be stored and printed, and is not too long."""
    return clean_characters(text.encode("utf-8", "replace").decode())[:_MOST_REASON]


def _cut_all(content: Content, kept: int, lengths: Lengths) -> list[Piece]:
    title = clean_characters(content.title).strip()
    left_out = len(content.more) - kept
    lines = [*content.lines, *content.more[:kept], *([f"… and {left_out} more"] if left_out else [])]
    body = clean_characters("\n".join(lines)).strip()
    blocks = [block for block in (title, body, clean_characters(content.link or "").strip()) if block]
    text = "\n\n".join(blocks)
    return [
        Piece(text[start : max(start, min(end, len(title)))], text[max(start, min(end, len(title))) : end])
        for start, end in _cuts(text, lengths)
    ]


def _cuts(text: str, lengths: Lengths) -> Iterator[tuple[int, int]]:
    """Yield where each message begins and ends; what separates two of them belongs to neither."""
    start, room = 0, lengths.first
    while start < len(text):
        end = _fitting(text, start, room, lengths.width)
        skip = 0
        if end < len(text):
            end, skip = _find_break(text, start, end)
        if text[start:end].strip():
            yield start, end
            room = lengths.other
        start = end + skip


def _fitting(text: str, start: int, room: int, width: Callable[[str], int]) -> int:
    """Return where a message that begins at `start` has no room left."""
    end = start
    while end < len(text) and (needed := width(text[end])) <= room:
        room -= needed
        end += 1
    return max(end, start + 1)


def _find_break(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where to end a message that can reach to `end`, and the length of the separator there."""
    for separator in _BREAKS:
        place = text.rfind(separator, start + (end - start) // 2, end + len(separator))
        if place > start:
            return place, len(separator)
    least = max(start + 1, end - _MOST_OF_A_CHARACTER)
    for place in range(end, least, -1):
        if not _continues(text[place - 1], text[place]):
            return place, 0
    return end, 0


def _continues(before: str, after: str) -> bool:
    """True if two code points are seen as one character, or may be."""
    return (
        _JOINER in (before, after)
        or unicodedata.category(after) in ("Mn", "Me", "Mc")
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # tones of skin
        or ("\U0001f1e6" <= after <= "\U0001f1ff" and "\U0001f1e6" <= before <= "\U0001f1ff")  # flags
    )
