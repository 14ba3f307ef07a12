"""How a fake mail server misbehaves: at which step of a conversation it answers what, and to whom."""

import threading
from dataclasses import dataclass
from typing import Final

from streamworkers.errors import BadInputError, UnknownNameError

SMTP_STEPS: Final = {
    "mail": "after MAIL FROM",
    "rcpt": "after RCPT TO",
    "data": "after the end of the mail",
}
SMTP_PLANS: Final = {
    "421": "4.3.2 Service shutting down",
    "450": "4.2.1 Mailbox {to} is busy",
    "451": "4.7.1 Greylisted, try again later",
    "452": "4.2.2 Insufficient system storage",
    "550": "5.1.1 <{to}>: no such user",
    "552": "5.2.2 Mailbox of {to} is full",
    "554": "5.7.1 Rejected as spam",
    "timeout": "takes the mail, and never answers",
    "drop": "takes the mail, and closes the connection without an answer",
    "drop_before": "closes the connection when the mail begins, and takes nothing",
}


@dataclass(slots=True)
class SmtpPlan:
    """A rule: the first `calls` conversations with a recipient meet it; None stands for all."""

    name: str
    step: str = "rcpt"
    to: str | None = None
    calls: int | None = None

    def __post_init__(self) -> None:
        if self.name not in SMTP_PLANS:
            raise UnknownNameError("plan", self.name, SMTP_PLANS)
        if self.step not in SMTP_STEPS:
            raise UnknownNameError("step", self.step, SMTP_STEPS)
        if not self.name.isdigit():
            self.step = "mail" if self.name == "drop_before" else "data"

    def answer(self, recipient: str) -> str:
        """Return the line that the server answers with."""
        return f"{self.name} {SMTP_PLANS[self.name].format(to=recipient)}"


def parse_smtp_plan(text: str) -> SmtpPlan:
    """Parse `NAME[,step=STEP][,to=ADDRESS][,calls=N]`. Raises UnknownNameError and BadInputError."""
    name, *words = text.split(",")
    given = dict(word.partition("=")[::2] for word in words)
    unknown = sorted(set(given) - {"step", "to", "calls"})
    if unknown:
        raise BadInputError(f"plan {text!r}: {unknown[0]!r} is none of step, to, calls")
    try:
        calls = int(given["calls"]) if "calls" in given else None
    except ValueError:
        raise BadInputError(f"plan {text!r}: calls {given['calls']!r} is not a whole number") from None
    return SmtpPlan(name, given.get("step", "rcpt"), given.get("to"), calls)


class SmtpPlans:
    """The plans in force; the first that fits is used. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: list[SmtpPlan] = []

    def add(self, plan: SmtpPlan) -> None:
        """Add a plan after the others."""
        with self._lock:
            self._plans.append(plan)

    def clear(self) -> None:
        """Remove all plans."""
        with self._lock:
            self._plans.clear()

    def take(self, step: str, recipient: str) -> SmtpPlan | None:
        """Return the plan that a step of a conversation meets, and count it."""
        with self._lock:
            for plan in self._plans:
                if plan.step != step or plan.calls == 0 or (step != "mail" and plan.to not in (None, recipient)):
                    continue
                if plan.calls is not None:
                    plan.calls -= 1
                return plan
        return None
