"""What a client does, step by step, as generators: the synchronous and the asynchronous client differ in who answers.

A generator yields a step, and gets its answer sent, or the error raised that the step has met. So the rules about
retries, waiting and pages are written once.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Query:
    """A statement to execute; the answer is its rows. One that changes something may end as an unknown outcome.

    `seconds` limits it further than the client does.
    """

    sql: str
    words: tuple[object, ...] = ()
    changes: bool = False
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A call of the HTTP API; the answer is a `CallReply`. `key` lets it be sent again without a second effect.

    `waits` is for how long the API may wait before it answers, beside the seconds of the call.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    key: str | None = None
    seconds: float | None = None
    waits: float = 0.0

    @property
    def changes(self) -> bool:
        """True if it changes something, so that it may end as an unknown outcome."""
        return self.method != "GET"


class CallReply(NamedTuple):
    """What the API answers: the body as JSON, None if it is none, and after how many seconds to try again."""

    status: int
    body: Any
    retry_after: float


@dataclass(frozen=True, slots=True)
class Pause:
    """A time to let pass, in seconds; the answer is empty."""

    seconds: float


Step = Query | HttpCall | Pause
Steps = Generator[Step, Any, T]


def take_steps(steps: Steps[T], answer: Callable[[Step], Any]) -> T:
    """Answer the steps one after the other; returns what they return."""
    try:
        step = next(steps)
        while True:
            try:
                value = answer(step)
            except Exception as error:  # noqa: BLE001  # the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        result: T = end.value
        return result


async def take_steps_async(steps: Steps[T], answer: Callable[[Step], Awaitable[Any]]) -> T:
    """Answer the steps one after the other, as `take_steps` does."""
    try:
        step = next(steps)
        while True:
            try:
                value = await answer(step)
            except Exception as error:  # noqa: BLE001  # the steps decide
                step = steps.throw(error)
            else:
                step = steps.send(value)
    except StopIteration as end:
        result: T = end.value
        return result
