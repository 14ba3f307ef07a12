"""Threads for work that may hang: unlike those of the standard library, they never keep the process from ending."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")


class DaemonThreads:
    """So many threads, which work on what is submitted in its order."""

    def __init__(self, count: int, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._count = count
        for number in range(count):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(self, function: Callable[..., Result], *words: Any) -> "Future[Result]":
        """Let a thread call a function; the future gets what it returns or raises."""
        future: Future[Result] = Future()

        def call() -> None:
            try:
                future.set_result(function(*words))
            except BaseException as error:  # noqa: BLE001  # it is raised where the result is asked for
                future.set_exception(error)

        self._work.put(call)
        return future

    def close(self) -> None:
        """Let each thread end after the call that it is in."""
        for _ in range(self._count):
            self._work.put(None)

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            call()
