"""Ends the processes that user code started in a worker and left behind when its call returned."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from streamworkers.engine.ledger import Run
from streamworkers.engine.processes import end_all_children, has_children, read_children

log = structlog.get_logger()


class ChildEnder:
    """Ends what is left after each call, and logs it once for each run.

    What was there before the first call is spared. Something may start them again, such as a thread of a process pool
    that was not closed, or they cannot be killed. Only the end of this process helps then: they `remain`, and `give_up`
    is called.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self.remain = False
        self._spared = read_children()
        self._give_up = give_up
        self._logged_run = 0

    @contextmanager
    def ending_children(self, run: Run) -> Iterator[None]:
        """Run user code of a run, and kill and reap all children of this process when it ends.

        Without any this is a system call before, and one after.
        """
        if self._are_left():
            end_all_children(self._spared)
            self._replace_worker(run)
        try:
            yield
        finally:
            if self._are_left():
                self._end(run)

    def _are_left(self) -> bool:
        return has_children() and (not self._spared or not read_children() <= self._spared)

    def _end(self, run: Run) -> None:
        killed, is_done = end_all_children(self._spared)
        if killed and run.id != self._logged_run:
            self._logged_run = run.id
            log.warning("child_processes_killed", job=run.job, run=run.id, count=killed)
        if not is_done:
            self._replace_worker(run)

    def _replace_worker(self, run: Run) -> None:
        log.warning("child_processes_remain", job=run.job, run=run.id)
        self.remain = True
        self._give_up()
