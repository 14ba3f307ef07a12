"""What a fake receiver of webhooks does with a call: it checks it as its kind does, remembers it, and answers."""

import base64
import hmac
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from streamworkers.errors import BadInputError, UnknownNameError

HOOK_PLANS: Final = {
    "status": "the status VALUE",
    "retry_after": "429, and VALUE seconds to wait; with the status 503 after a slash, as 30/503",
    "redirect": "302 to VALUE",
    "huge": "200 with VALUE bytes",
    "slow": "200, one byte each VALUE seconds",
    "drop": "takes the call, and closes the connection without an answer",
    "drop_before": "closes the connection, and takes nothing",
}
TOLERANCE_SECONDS: Final = 300


class HookCall(NamedTuple):
    """A call that was received; `taken` if the receiver accepted it, `fault` what it found wrong."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes
    taken: bool
    fault: str | None = None

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class HookPlan(NamedTuple):
    """How calls are answered: a name of HOOK_PLANS with its value."""

    name: str
    value: str = ""


class HookAnswer(NamedTuple):
    """An answer: status 0 closes the connection; with `pause`, each byte of the body takes so many seconds."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    pause: float = 0.0


def parse_hook_plan(text: str) -> HookPlan:
    """Parse `NAME[=VALUE]`. Raises UnknownNameError and BadInputError."""
    name, _, value = text.partition("=")
    if name not in HOOK_PLANS:
        raise UnknownNameError("plan", name, HOOK_PLANS)
    if ("VALUE" in HOOK_PLANS[name]) != bool(value):
        raise BadInputError(f"plan {text!r}: {name} takes {'a' if 'VALUE' in HOOK_PLANS[name] else 'no'} value")
    return HookPlan(name, value)


def find_signature_fault(headers: Mapping[str, str], body: bytes, secrets: Sequence[bytes], now: float) -> str | None:
    """Return what is wrong with the signature of a call by Standard Webhooks; None if one of the secrets fits."""
    identifier, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not identifier or not stamp.isdigit():
        return "webhook-id or webhook-timestamp is missing"
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        return "webhook-timestamp is too far away"
    signed = f"{identifier}.{stamp}.".encode() + body
    wanted = {"v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode() for secret in secrets}
    given = headers.get("webhook-signature", "").split(" ")
    return None if wanted & set(given) else "no signature fits"


class FakeReceiver:
    """Receives calls below /slack as Slack does, below /discord as Discord does, and all others as webhooks.

    Thread-safe. Without secrets, signatures are not checked.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self.secrets = tuple(secrets)
        self._lock = threading.Lock()
        self._calls: list[HookCall] = []
        self._plans: list[HookPlan] = []

    @property
    def calls(self) -> list[HookCall]:
        """A copy of the calls that were received."""
        with self._lock:
            return list(self._calls)

    def plan(self, *texts: str) -> None:
        """Set how calls are answered, the last text for all further ones; without any, as usual."""
        plans = [parse_hook_plan(text) for text in texts]
        with self._lock:
            self._plans = plans

    def forget(self) -> None:
        """Forget calls and plans."""
        with self._lock:
            self._plans, self._calls = [], []

    def receive(self, path: str, headers: Mapping[str, str], body: bytes) -> HookAnswer:
        """Answer a call, and remember it before it is answered."""
        with self._lock:
            plan = self._plans[0] if self._plans else None
            if len(self._plans) > 1:
                self._plans.pop(0)
        fault, answer = self._usual(path, headers, body)
        taken = fault is None
        if plan is not None:
            answer = _planned(plan, path)
            taken = taken and (200 <= answer.status < 300 or plan.name == "drop")
        with self._lock:
            self._calls.append(HookCall(time.monotonic(), path, headers, body, taken, fault))
        return answer

    def _usual(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[str | None, HookAnswer]:
        if path.startswith("/slack"):
            fault = _slack_fault(body)
            return fault, HookAnswer(200, b"ok") if fault is None else HookAnswer(400, fault.encode())
        if path.startswith("/discord"):
            fault = _discord_fault(body)
            if fault is not None:
                return fault, HookAnswer(400, msgspec.json.encode({"code": 50035, "message": fault}))
            if "wait=true" not in path:
                return None, HookAnswer(204)
            return None, HookAnswer(200, msgspec.json.encode({"id": str(len(self._calls) + 1)}))
        fault = find_signature_fault(headers, body, self.secrets, time.time()) if self.secrets else None
        return fault, HookAnswer(200 if fault is None else 401)


def _slack_fault(body: bytes) -> str | None:
    text = _decode(body).get("text")
    if not isinstance(text, str) or not text:
        return "no_text"
    return "msg_too_long" if len(text) > 40_000 else None


def _discord_fault(body: bytes) -> str | None:
    content = _decode(body).get("content")
    if not isinstance(content, str) or not content.strip():
        return "Cannot send an empty message"
    return "Must be 2000 or fewer in length." if len(content) > 2000 else None


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _planned(plan: HookPlan, path: str) -> HookAnswer:
    match plan.name:
        case "status":
            return HookAnswer(int(plan.value), b"planned")
        case "retry_after":
            seconds, _, status = plan.value.partition("/")
            body = msgspec.json.encode({"retry_after": float(seconds)}) if path.startswith("/discord") else b""
            return HookAnswer(int(status or 429), body, {"retry-after": str(round(float(seconds)))})
        case "redirect":
            return HookAnswer(302, b"", {"location": plan.value})
        case "huge":
            return HookAnswer(200, b"x" * int(plan.value))
        case "slow":
            return HookAnswer(200, b"slow", pause=float(plan.value))
    return HookAnswer(0)
