"""Ctrl-C while a command runs: it interrupts between two imports, never within one.

An interrupt in the middle of an import leaves half a module, and whatever the import makes of it: NumPy, for example,
says that its files are broken.
"""

import os
import signal
from types import FrameType

_AGAIN_SECONDS = 0.02


def interrupt_between_imports() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, at once or when the import of the moment is done.

    A process that handles Ctrl-C by itself, as a worker or a scheduler, does so from its start on.
    """
    signal.signal(signal.SIGINT, _interrupt)


def end_quietly() -> None:
    """From now on Ctrl-C ends the process at once: its work is done, and the interpreter only tidies up."""
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _is_within_import(frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)


def _is_within_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
