"""What the names in a rule mean: the interface between the language and what it is used for."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from streamworkers.rules.tree import Field, Pattern

GivenParams = Mapping[str, object] | Sequence[object] | None


class Vocabulary(Protocol):
    """Gives names a type, a dimension and a look-back.

    Parameters are given by name, by position, or not at all: then the name may be that of a definition, which has its
    own. Both methods raise UsageError with a message that names the value and the rule, or RuleError with the member
    that is wrong as its path: `("params",)`, `("output",)`. Screeners, bots and message routing have vocabularies of
    their own, and share everything else.
    """

    def find_field(self, name: str, params: GivenParams, output: str | None) -> Field:
        """The field of this name; the output is the first unless one is named."""
        ...

    def find_pattern(self, name: str, params: GivenParams) -> tuple[Pattern, float]:
        """The pattern of this name, and the lowest confidence that its definition accepts (0 without one)."""
        ...
