"""Who changes something: every function that changes what people own takes an actor."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Actor:
    """A user, and by which way they came; `token`, `request_id` and `address` are those of a call over HTTP.

    `by` is the administrator who acts for the user; without one, the user does.
    """

    user: str
    kind: Literal["cli", "api", "bot", "system"] = "cli"
    token: str | None = None
    request_id: str | None = None
    address: str | None = None
    by: str | None = None

    @property
    def person(self) -> str:
        """Who does it: the administrator, or the user."""
        return self.by or self.user

    def __str__(self) -> str:
        return f"{self.kind}:{self.person}"


LOCAL = Actor("local")
