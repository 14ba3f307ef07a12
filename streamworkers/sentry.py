"""Sentry: failed attempts and deaths of items as events, grouped by job and error.

Only this module imports the library, when it is switched on. It uses a client of its own and nothing of what the
library can do with a whole process, so that a job may use Sentry as well. Neither parameters of runs nor local
variables are sent.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

from sentry_sdk import Client
from sentry_sdk.types import Event
from sentry_sdk.utils import BadDsn

from streamworkers.config import load_settings
from streamworkers.errors import UsageError
from streamworkers.hooks import CallEnd, HookCall, HookItem, Hooks

END_SECONDS = 2.0
REPEAT_SECONDS = 60.0
_MOST_KEYS = 10  # the library cuts longer lists
_MOST_GROUPS = 256
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)$', re.MULTILINE)
_NUMBER = re.compile(r"\d+")
_Level = Literal["warning", "error"]


@dataclass(slots=True)
class FailureGroup:
    """Items of a run that failed alike and are not reported yet, and when the last event about such was sent."""

    call: HookCall
    first: HookItem
    sent_at: float = float("-inf")
    keys: list[str] = field(default_factory=list)
    count: int = 0


class SentryHook(Hooks):
    """Sends an event for the first item of a run that fails in some way, then at most one a minute with how many."""

    def __init__(self) -> None:
        dsn = load_settings().sentry_dsn
        self._client = make_client(dsn.get_secret_value() if dsn is not None else "")
        self._groups: dict[tuple[_Level, int, tuple[str, ...]], FailureGroup] = {}

    def on_failure(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """Report attempts that are retried, as warnings."""
        self._add("warning", call, items)

    def on_dead(self, call: HookCall, items: Sequence[HookItem]) -> None:
        """Report items that are dead, as errors."""
        self._add("error", call, items)

    def on_end(self, call: HookCall, end: CallEnd) -> None:
        """Report what has waited for a minute."""
        self._send_due(REPEAT_SECONDS)

    def close(self) -> None:
        """Report all that waits, and send what is left, within a bound."""
        self._send_due(0.0)
        self._client.close(timeout=END_SECONDS)

    def _add(self, level: _Level, call: HookCall, items: Sequence[HookItem]) -> None:
        for item in items:
            key = level, call.run_id, _fingerprint(call, item)
            group = self._groups.get(key)
            if group is None:
                self._forget_oldest()
                group = self._groups[key] = FailureGroup(call, item)
            if not group.count:
                group.call, group.first = call, item
            group.count += 1
            if len(group.keys) < _MOST_KEYS:
                group.keys.append(item.key)
        self._send_due(REPEAT_SECONDS)

    def _send_due(self, seconds: float) -> None:
        now = time.monotonic()
        for (level, _, fingerprint), group in self._groups.items():
            if group.count and now - group.sent_at >= seconds:
                self._client.capture_event(make_event(level, group, fingerprint))
                group.sent_at, group.keys, group.count = now, [], 0

    def _forget_oldest(self) -> None:
        if len(self._groups) >= _MOST_GROUPS:
            self._send_due(0.0)
            del self._groups[next(iter(self._groups))]


def make_client(dsn: str) -> Client:
    """Return a client that sends events and does nothing else. Raises UsageError for a DSN that is none."""
    try:
        return Client(
            dsn=dsn,
            release=f"streamworkers@{version('streamworkers')}",
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            include_source_context=False,
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
            shutdown_timeout=END_SECONDS,
        )
    except BadDsn:
        # Neither its text nor that of the error is shown: both hold the key.
        raise UsageError("STREAMWORKERS_SENTRY_DSN is no DSN of Sentry, https://KEY@HOST/PROJECT") from None


def make_event(level: _Level, group: FailureGroup, fingerprint: tuple[str, ...]) -> Event:
    """Return the event about items that failed alike, with the first of them as its tags."""
    call, item = group.call, group.first
    kind, _, text = (item.error or "failed").partition(": ")
    exception: dict[str, Any] = {"type": kind if text else "Failed", "value": text or kind}
    if frames := _read_frames(item.stack or ""):
        exception["stacktrace"] = {"frames": frames}
    tags = {"job": call.job, "run": call.run_id, "queue": call.queue, "symbol": item.key, "attempt": item.attempt}
    if item.timeframe is not None:
        tags["timeframe"] = item.timeframe
    return {
        "level": level,
        "logger": "streamworkers",
        "transaction": call.job,
        "exception": {"values": [exception]},
        "fingerprint": list(fingerprint),
        "tags": {name: str(value) for name, value in tags.items()},
        "extra": {"items": group.count, "symbols": group.keys, "outcome": "dead" if level == "error" else "retried"},
    }


def _fingerprint(call: HookCall, item: HookItem) -> tuple[str, ...]:
    """Return what groups an error: its job, its type, and where it was raised, or else its text without what varies."""
    error = item.error or "failed"
    frames = _read_frames(item.stack or "")
    if frames:
        return "streamworkers", call.job, error.partition(":")[0], f"{frames[-1]['filename']}:{frames[-1]['function']}"
    return "streamworkers", call.job, _NUMBER.sub("0", error.replace(item.key, "…"))[:200]


def _read_frames(stack: str) -> list[dict[str, Any]]:
    """Return the frames of a stack as Python prints it, the newest last; only places, no variables."""
    return [
        {"filename": found["file"].rpartition("/")[2], "function": found["function"], "lineno": int(found["line"])}
        for found in _FRAME.finditer(stack)
    ]
