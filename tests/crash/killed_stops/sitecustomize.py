"""Kills a worker with SIGKILL between the steps by which it ends a run, in every process with this folder on its path.

The file `KILLED_STOPS` lists the steps that are left, in order; a step is taken off before it kills.
Python imports a module of this name when it starts.
"""

import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from streamworkers.engine.ledger import stopping
from streamworkers.engine.worker.commit import BatchCommitter


def _kill_at(step: str) -> None:
    steps = Path(os.environ["KILLED_STOPS"])
    left = steps.read_text(encoding="utf-8").split()
    if left and left[0] == step:
        steps.write_text(" ".join(left[1:]), encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)


def _killing(place: Any, name: str, step: str, is_meant: Callable[..., bool] = lambda *_: True) -> None:
    function = getattr(place, name)

    @wraps(function)
    def call(*words: Any, **named: Any) -> Any:
        if is_meant(*words):
            _kill_at(step)
        return function(*words, **named)

    setattr(place, name, call)


_killing(stopping, "lock_run", "lock")
_killing(stopping, "fail_items", "fail")
_killing(stopping, "count_items", "count")
_killing(stopping, "add_events", "event")
_killing(BatchCommitter, "_finish_batches", "leave", lambda *words: any(batch.has_stopped_run for batch in words[3]))
_killing(BatchCommitter, "_complete", "complete", lambda *words: bool(words[2]))
