"""How a fake Bot API misbehaves: which calls meet what, instead of being done."""

import math
import threading
from dataclasses import dataclass
from typing import NamedTuple

from streamworkers.errors import BadInputError, UnknownNameError


class _Plan(NamedTuple):
    meaning: str
    default: float | None = None  # of its value; None: it takes none


BOT_PLANS = {
    "blocked": _Plan("403: the user has blocked the bot"),
    "kicked": _Plan("403: the bot was removed from the group"),
    "deactivated": _Plan("403: the user's account is gone"),
    "chat_not_found": _Plan("400: there is no such chat"),
    "migrate": _Plan("400: the group has a new id, VALUE", -1001234567890),
    "parse_error": _Plan("400: the entities of the text cannot be parsed"),
    "too_long": _Plan("400: the text is too long"),
    "bad_photo": _Plan("400: the photo cannot be processed"),
    "unauthorized": _Plan("401: the token is not valid"),
    "conflict": _Plan("409: another program asks for updates"),
    "retry_after": _Plan("429: too many calls; VALUE: seconds to wait", 10_072),
    "server_error": _Plan("an error of the server; VALUE: its status", 502),
    "not_json": _Plan("200 with a page of HTML, and nothing is done"),
    "drop": _Plan("the call is done, and the connection closed without an answer"),
    "drop_before": _Plan("the connection is closed, and nothing is done"),
    "delay": _Plan("the call is done, and answered VALUE seconds late", 1.0),
}


@dataclass(slots=True)
class BotPlan:
    """A rule: the first `calls` of a method for a chat meet it; None stands for all. `value` is that of BOT_PLANS."""

    name: str
    value: float | None = None
    chat: str | None = None
    method: str | None = None
    calls: int | None = None

    def __post_init__(self) -> None:
        if self.name not in BOT_PLANS:
            raise UnknownNameError("plan", self.name, BOT_PLANS)
        default = BOT_PLANS[self.name].default
        if self.value is not None and default is None:
            raise BadInputError(f"plan {self.name} takes no value, not {self.value:g}")
        self.value = default if self.value is None else self.value
        if self.value is not None and not math.isfinite(self.value):
            raise BadInputError(f"plan {self.name}: {self.value} is not a finite number")


def parse_bot_plan(text: str) -> BotPlan:
    """Parse `NAME[=VALUE][,chat=ID][,method=NAME][,calls=N]`. Raises UnknownNameError and BadInputError."""
    head, *words = text.split(",")
    name, _, value = head.partition("=")
    given = dict(word.partition("=")[::2] for word in words)
    unknown = sorted(set(given) - {"chat", "method", "calls"})
    if unknown:
        raise BadInputError(f"plan {text!r}: {unknown[0]!r} is none of chat, method, calls")
    try:
        calls = int(given["calls"]) if "calls" in given else None
        number = float(value) if value else None
    except ValueError:
        raise BadInputError(f"plan {text!r}: its value or its calls are not a number") from None
    return BotPlan(name, number, given.get("chat"), given.get("method"), calls)


class BotPlans:
    """The plans in force; the first that fits a call is used. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: list[BotPlan] = []

    def add(self, plan: BotPlan) -> None:
        """Add a plan after the others."""
        with self._lock:
            self._plans.append(plan)

    def clear(self) -> None:
        """Remove all plans."""
        with self._lock:
            self._plans.clear()

    def take(self, method: str, chat: str | None) -> BotPlan | None:
        """Return the plan that a call meets, and count the call. Without a method, it concerns what sends."""
        with self._lock:
            for plan in self._plans:
                fits = plan.method == method or (plan.method is None and method not in ("getUpdates", "getMe"))
                if not fits or plan.chat not in (None, chat) or plan.calls == 0:
                    continue
                if plan.calls is not None:
                    plan.calls -= 1
                return plan
        return None
