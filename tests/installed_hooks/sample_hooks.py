"""Hooks for tests and benchmarks; a test installs those that it wants (`install_hooks`)."""

import decimal
import json
import os
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from streamworkers.hooks import CallEnd, HookCall, HookItem, Hooks


class Empty(Hooks):
    """Has no method of its own."""


class Idle(Hooks):
    """Has every method, and does nothing."""

    def on_start(self, call: HookCall) -> None: ...

    def on_success(self, call: HookCall, items: Sequence[HookItem]) -> None: ...

    def on_failure(self, call: HookCall, items: Sequence[HookItem]) -> None: ...

    def on_dead(self, call: HookCall, items: Sequence[HookItem]) -> None: ...

    def on_end(self, call: HookCall, end: CallEnd) -> None: ...


class Recording(Hooks):
    """Writes each call as a line of JSON into the file SAMPLE_HOOKS_LOG."""

    def __init__(self) -> None:
        self._log("init")

    def on_start(self, call: HookCall) -> None:
        self._log("on_start", call, call.items)

    def on_success(self, call: HookCall, items: Sequence[HookItem]) -> None:
        self._log("on_success", call, items)

    def on_failure(self, call: HookCall, items: Sequence[HookItem]) -> None:
        self._log("on_failure", call, items)

    def on_dead(self, call: HookCall, items: Sequence[HookItem]) -> None:
        self._log("on_dead", call, items)

    def on_end(self, call: HookCall, end: CallEnd) -> None:
        self._log("on_end", call, call.items, end.outcome)

    def close(self) -> None:
        self._log("close")

    def _log(
        self, event: str, call: HookCall | None = None, items: Sequence[HookItem] = (), outcome: str | None = None
    ) -> None:
        line = {
            "event": event,
            "pid": os.getpid(),
            "run": call.run_id if call is not None else None,
            "call": call.number if call is not None else None,
            "items": [[item.key, item.attempt, item.error] for item in items],
            "outcome": outcome,
        }
        with Path(os.environ["SAMPLE_HOOKS_LOG"]).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")


class Misbehaving(Hooks):
    """Does in the event SAMPLE_HOOKS_IN, one after another, what SAMPLE_HOOKS_DOES lists; behaves from then on."""

    def __init__(self) -> None:
        self._misbehave("init")

    def on_start(self, call: HookCall) -> None:
        self._misbehave("on_start")

    def on_success(self, call: HookCall, items: Sequence[HookItem]) -> None:
        self._misbehave("on_success")

    def on_end(self, call: HookCall, end: CallEnd) -> None:
        self._misbehave("on_end")

    def close(self) -> None:
        self._misbehave("close")

    def _misbehave(self, event: str) -> None:
        if event != os.environ["SAMPLE_HOOKS_IN"]:
            return
        marks, kinds = Path(os.environ["SAMPLE_HOOKS_MARKS"]), os.environ["SAMPLE_HOOKS_DOES"].split(",")
        if (number := len(list(marks.iterdir()))) < len(kinds):
            (marks / str(number)).touch()
            misbehave(kinds[number])


def misbehave(kind: str) -> None:
    """Do one thing that a hook should not do."""
    match kind:
        case "raise":
            raise ValueError("the statistics are away")
        case "exit":
            raise SystemExit(3)
        case "hang":
            time.sleep(600)
        case "hang on":
            while True:
                try:
                    time.sleep(600)
                except BaseException:  # noqa: BLE001  # that is the misbehaviour
                    continue
        case "freeze":
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(600)
        case "end":
            os._exit(0)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fork":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                os.fork()
        case "child":
            subprocess.Popen(["sleep", "600"])
        case "mess":
            # As the job `misbehaving` does, so that `inspecting` finds what is left of it.
            os.environ["MISBEHAVING"] = "1"
            os.chdir(tempfile.gettempdir())
            os.umask(0o777)
            decimal.getcontext().prec = 3
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
