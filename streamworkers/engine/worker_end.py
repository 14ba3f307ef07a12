"""How a worker process ended: a value chosen where it is decided, and the sentence made from it."""

from enum import StrEnum
from typing import NamedTuple


class WorkerEnd(StrEnum):
    """The kinds of end, which are label values of a metric."""

    STOPPED = "stopped"  # on request, with exit code 0
    EXITED = "exited"  # by itself, with another exit code or in the middle of a call
    SIGNAL = "signal"  # killed by a signal that its supervisor did not send
    TIMEOUT = "timeout"  # a handler's call took longer than its job allows
    HOOK = "hook"  # a hook did not return, and could not be interrupted
    SILENT = "silent"  # it held entries and reported nothing
    MEMORY = "memory"  # it used more than --max-memory-mb
    START_FAILED = "start_failed"  # it did not get ready
    FORK_SERVER_LOST = "fork_server_lost"  # the process that it was forked from ended, and it with it
    STOP_TIMEOUT = "stop_timeout"  # it did not end in time after it was asked to


class Ending(NamedTuple):
    """How a worker ended; `reason` is kept with the items that it was executing, '' for an end in order."""

    end: WorkerEnd
    reason: str


def describe_exit(code: int, name: str = "worker") -> Ending:
    """Return the ending of a process that its supervisor did not kill, by its exit code as `subprocess` gives it."""
    if code < 0:
        return Ending(WorkerEnd.SIGNAL, f"killed by signal {-code}")
    if code:
        return Ending(WorkerEnd.EXITED, f"{name} exited with code {code}")
    return Ending(WorkerEnd.STOPPED, "")
