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
    """From now on Ctrl-C ends the process at once: its work is done, and the interpreter only tidies up.

    Raises KeyboardInterrupt if Ctrl-C waits for an import still.
    """
    if signal.getsignal(signal.SIGINT) is not _interrupt:
        return
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))
    if _cancel_waiting():
        raise KeyboardInterrupt


def _interrupt(_number: int, frame: FrameType | None) -> None:
    if not _is_within_import(frame):
        _cancel_waiting()
        raise KeyboardInterrupt
    # Until then a worker or a scheduler may have begun to handle Ctrl-C by itself: it gets the signal once more.
    signal.signal(signal.SIGALRM, lambda _number, _frame: signal.raise_signal(signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)


def _cancel_waiting() -> bool:
    """Forget a Ctrl-C that waits for an import to end; True if there was one."""
    seconds, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    return seconds > 0


def _is_within_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
