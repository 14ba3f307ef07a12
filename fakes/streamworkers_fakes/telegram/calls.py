"""What the fake Bot API remembers: each call with its time, and how many each limit has left."""

import math
import threading
import time
from collections import defaultdict, deque
from typing import Any, NamedTuple

import msgspec


class BotCall(msgspec.Struct, frozen=True):
    """A call: `at` are seconds of a clock that never jumps, `text` is what people see of an accepted message.

    `status` is 0 for a call whose connection was closed without an answer.
    """

    at: float
    method: str
    chat: str | None
    parameters: dict[str, Any]
    status: int
    accepted: bool
    text: str | None = None
    message_id: int | None = None
    photo_bytes: int = 0


class BotLimits(NamedTuple):
    """Most messages in a number of seconds: of the bot, to a chat, to a group."""

    bot: tuple[int, float] = (30, 1.0)
    chat: tuple[int, float] = (1, 1.0)
    group: tuple[int, float] = (20, 60.0)


class BotLog:
    """The calls of a fake. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[BotCall] = []

    def add(self, call: BotCall) -> None:
        """Add a call after the others."""
        with self._lock:
            self._calls.append(call)

    def calls(self) -> list[BotCall]:
        """Return a copy of the log."""
        with self._lock:
            return list(self._calls)

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()


class BotWindows:
    """Counts accepted messages in windows that move with time, exactly."""

    def __init__(self, limits: BotLimits) -> None:
        self.limits = limits
        self._accepted: dict[str, deque[float]] = defaultdict(deque)

    def take(self, chat: str, now: float) -> int:
        """Count a message; returns 0, or the seconds to wait if a limit has none left, and nothing is counted."""
        names = {"bot": self.limits.bot, f"chat {chat}": self.limits.chat}
        if chat.startswith(("-", "@")):
            names[f"group {chat}"] = self.limits.group
        waits = [self._wait(name, calls, seconds, now) for name, (calls, seconds) in names.items()]
        if max(waits) > 0:
            return max(1, math.ceil(max(waits)))
        for name in names:
            self._accepted[name].append(now)
        return 0

    def _wait(self, name: str, calls: int, seconds: float, now: float) -> float:
        accepted = self._accepted[name]
        while accepted and accepted[0] <= now - seconds:
            accepted.popleft()
        return accepted[-calls] + seconds - now if len(accepted) >= calls else 0.0


def monotonic() -> float:
    """Return the time of the log."""
    return time.monotonic()
