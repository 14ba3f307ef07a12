"""Parts of the pool as actors on one stage: one moves at a time, stops where it is told to, and may die there."""

import threading
from collections.abc import Callable

from patience import patient

HANG_SECONDS = 120.0
ANYWHERE = "anywhere"


class Died(SystemExit):
    """The process was killed at this point: nothing after it happens, and PostgreSQL rolls back what was open."""


class Stage:
    """Says whose turn it is. Code under test calls `reach` at the points where an actor can be made to stop."""

    def __init__(self) -> None:
        self.moving: Actor | None = None

    def reach(self, point: str) -> None:
        """Stop here if the moving actor is to stop at this point. Raises Died when it is killed meanwhile."""
        if self.moving is not None:
            self.moving.reach(point)


class Actor:
    """An action in a thread of its own that runs only while `go_to` or `die` waits for it."""

    def __init__(self, stage: Stage, action: Callable[[], None]) -> None:
        self.point = "the beginning"
        self.ended = False
        self._stage = stage
        self._action = action
        self._stop_at: str | None = None
        self._dying = False
        self._error: BaseException | None = None
        self._turn = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        threading.Thread(target=self._run, name="actor", daemon=True).start()

    def go_to(self, point: str | None) -> bool:
        """Move until `point` is reached (the next one of all for ANYWHERE), or to the end; False when it has ended.

        Raises what the action raised.
        """
        self._stop_at = point
        self._move()
        return not self.ended

    def die(self) -> None:
        """Be killed at the point that was reached last."""
        self._dying = True
        self._move()

    def reach(self, point: str) -> None:
        """Called by the action: stop here when asked to."""
        if self._stop_at in (point, ANYWHERE):
            self.point = point
            self._pause()

    def _move(self) -> None:
        assert not self.ended
        self._stage.moving = self
        self._turn.release()
        if not self._stopped.acquire(timeout=patient(HANG_SECONDS)):
            raise AssertionError(f"the actor that stopped at {self.point!r} hangs")
        self._stage.moving = None
        if self._error is not None:
            raise self._error

    def _pause(self) -> None:
        self._stopped.release()
        self._turn.acquire()
        if self._dying:
            raise Died

    def _run(self) -> None:
        self._turn.acquire()
        try:
            if not self._dying:
                self._action()
        except Died:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that waits
            self._error = error
        finally:
            self.ended = True
            self._stopped.release()
