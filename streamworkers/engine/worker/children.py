"""Ends the processes that user code started in a worker and left behind when its call returned."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from streamworkers.engine.ledger import Run
from streamworkers.engine.processes import end_all_children, has_children, read_children
from streamworkers.logger import get_logger

log = get_logger()


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
        self._logged = -1

    @contextmanager
    def ending_children(self, run: Run) -> Iterator[None]:
        """Run user code of a run, and kill and reap all children of this process when it ends.

        Without any this is a system call before, and one after.
        """
        with self._ending(run.id, job=run.job, run=run.id):
            yield

    @contextmanager
    def ending_children_of_hooks(self) -> Iterator[None]:
        """Run hooks, and end what they leave."""
        with self._ending(0, hooks=True):
            yield

    @contextmanager
    def _ending(self, number: int, **fields: object) -> Iterator[None]:
        if self._are_left():
            end_all_children(self._spared)
            self._replace_worker(fields)
        try:
            yield
        finally:
            if self._are_left():
                self._end(number, fields)

    def _are_left(self) -> bool:
        return has_children() and (not self._spared or not read_children() <= self._spared)

    def _end(self, number: int, fields: Mapping[str, object]) -> None:
        killed, is_done = end_all_children(self._spared)
        if killed and number != self._logged:
            self._logged = number
            log.warning("child_processes_killed", count=killed, **fields)
        if not is_done:
            self._replace_worker(fields)

    def _replace_worker(self, fields: Mapping[str, object]) -> None:
        log.warning("child_processes_remain", **fields)
        self.remain = True
        self._give_up()
