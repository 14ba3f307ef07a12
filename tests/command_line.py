"""What tests of the command line share: a command's answer, and how long it may wait for one."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from patience import patient


@dataclass(frozen=True)
class Answer:
    """What a command printed and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, parsed."""
        return json.loads(self.out)


Run = Callable[..., Answer]


def wait_for(seconds: float) -> tuple[str, ...]:
    """The options with which a command waits for its run."""
    return "--wait", "--timeout", f"{patient(seconds):g}"
