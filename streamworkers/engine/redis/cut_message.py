"""The beginning of a message that another program has made longer than what is read of it."""

from typing import Self


class CutMessage(bytes):
    """The first bytes of a message; `size` is that of all of it."""

    size: int

    def __new__(cls, beginning: bytes, size: int) -> Self:
        """Return the beginning, which knows how long the message is."""
        cut = super().__new__(cls, beginning)
        cut.size = size
        return cut


def size_of(message: bytes) -> int:
    """Return the bytes of a message, also of one that was cut."""
    return message.size if isinstance(message, CutMessage) else len(message)
