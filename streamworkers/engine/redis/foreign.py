"""What another program may have left under our keys: names that are no text, and counts that are no numbers."""

import re

# As much as a Lua number and HINCRBY hold exactly.
_COUNT = re.compile(rb"-?[0-9]{1,15}")


def text_of(name: bytes) -> str:
    r"""Return a name for people: bytes that are not UTF-8 as `\xff`."""
    return name.decode("utf-8", "backslashreplace")


def is_text(name: bytes) -> bool:
    """True for a name that is UTF-8, as those of the pool are."""
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def count_of(value: bytes | None) -> int | None:
    """Return a count, or None where there is none, or something else."""
    return int(value) if value is not None and _COUNT.fullmatch(value) else None
