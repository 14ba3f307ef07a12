"""Kills a worker with SIGKILL between the steps by which it ends a run, in every process with this folder on its path.

The file `KILLED_STOPS` lists the steps that are left, in order; a step is taken off before it kills.
Python imports a module of this name when it starts.
"""

import os
import signal
from pathlib import Path

from streamworkers.engine.ledger import stopping
from streamworkers.engine.worker.commit import BatchCommitter
from streamworkers.testing.killing import call_before


def _kill_at(step: str) -> None:
    steps = Path(os.environ["KILLED_STOPS"])
    left = steps.read_text(encoding="utf-8").split()
    if left and left[0] == step:
        steps.write_text(" ".join(left[1:]), encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)


call_before(stopping, "lock_run", lambda *_: _kill_at("lock"))
call_before(stopping, "fail_items", lambda *_, **__: _kill_at("fail"))
call_before(stopping, "count_items", lambda *_: _kill_at("count"))
call_before(stopping, "add_events", lambda *_: _kill_at("event"))
call_before(
    BatchCommitter,
    "_finish_batches",
    lambda *words: _kill_at("leave") if any(batch.has_stopped_run for batch in words[3]) else None,
)
call_before(BatchCommitter, "_complete", lambda *words: _kill_at("complete") if words[2] else None)
