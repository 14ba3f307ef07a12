"""SIGTERM and SIGINT of a long-lived process: the first asks it to stop, the second to stop now."""

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType


class Signals:
    """A stop request that signal handlers may make at any moment.

    It has the methods of `threading.Event` that loops use. An event itself would not do: its lock may be held by the
    code that the signal interrupts.
    """

    def __init__(self, on_second: Callable[[], None] = lambda: None) -> None:
        self.count = 0
        self._on_second = on_second
        self._pipe: tuple[int, int] | None = None

    @property
    def is_urgent(self) -> bool:
        """True after a second signal."""
        return self.count > 1

    def install(self) -> int:
        """Handle the signals from now on; returns a descriptor that becomes readable when one arrives."""
        self._pipe = read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        return read_end

    def uninstall(self) -> None:
        """Close the descriptor; later signals are only counted."""
        signal.set_wakeup_fd(-1)
        if self._pipe is not None:
            pipe, self._pipe = self._pipe, None
            for descriptor in pipe:
                os.close(descriptor)

    def wake(self) -> None:
        """Make the descriptor readable, as a signal does; nothing is asked for."""
        if (pipe := self._pipe) is not None:
            with suppress(BlockingIOError):
                os.write(pipe[1], b"\0")

    def set(self) -> None:
        """Ask for a stop as a first signal does."""
        self.count = max(1, self.count)

    def is_set(self) -> bool:
        """True once a stop was asked for."""
        return self.count > 0

    def wait(self, seconds: float) -> bool:
        """Pause until a signal arrives, at most `seconds`; True once a stop was asked for."""
        if not self.count:
            select.select([self._pipe[0]] if self._pipe is not None else [], [], [], seconds)
        return self.count > 0

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            self._on_second()
