"""Secrets by reference: `env:NAME` in an address or a setting stands for a variable of the sending process."""

import os
import re
from collections.abc import Iterable

from streamworkers.errors import BadInputError
from streamworkers.notifications.channels.channel import NotSentError

_REFERENCE = re.compile(r"env:([A-Z][A-Z0-9_]{0,127})")
# A receiver gets what its secret signs, and could try passwords of the pool against that.
_OWN = "STREAMWORKERS_"


def is_reference(text: str) -> bool:
    """True for a text like `env:NAME`."""
    return _REFERENCE.fullmatch(text) is not None


def require_reference(what: str, value: object) -> str:
    """Return a reference. Raises BadInputError, which does not show the value: it may be the secret itself."""
    if not isinstance(value, str) or not is_reference(value):
        raise BadInputError(f"{what} is a secret: name the variable that holds it, as env:MY_SECRET")
    if (rule := _find_own(value)) is not None:
        raise BadInputError(f"{what}: {rule}")
    return value


def read_reference(reference: str) -> str:
    """Return what a reference stands for. Raises NotSentError, for good, if the variable is not set here or our own."""
    if (rule := _find_own(reference)) is not None:
        raise NotSentError(rule, permanent=True)
    if (missing := find_unset_reference([reference])) is not None:
        raise NotSentError(missing, permanent=True)
    return os.environ[reference.removeprefix("env:")].strip()


def find_unset_reference(texts: Iterable[str]) -> str | None:
    """Return a sentence about the first of some references whose variable is not set here; other texts are none."""
    for name in (text.removeprefix("env:") for text in texts if is_reference(text)):
        if not os.environ.get(name, "").strip():
            return f"{name} is not set in the environment of this process"
    return None


def _find_own(reference: str) -> str | None:
    """The rule that a reference to a setting of the pool breaks."""
    name = reference.removeprefix("env:")
    return f"{name} is a setting of the pool, and no secret of a receiver" if name.startswith(_OWN) else None
