"""The slots of a fleet: how many worker processes there are to be, which queues each reads, and when it may start."""

import itertools
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamworkers.engine.ledger.orders import MOST_PROCESSES
from streamworkers.engine.supervisor.child import Child
from streamworkers.engine.worker_end import Ending
from streamworkers.errors import BadInputError

_LONGEST_RESTART_PAUSE = 10.0


def plan_slots(processes: int, queues: Mapping[str, int | None], known: Sequence[str]) -> list[list[str]]:
    """The queues of each worker process.

    `queues` maps a queue to its number of processes, or to None if it shares the remaining ones. Remaining processes
    read the sharing queues, or all known queues if there are none. Raises BadInputError when the numbers do not add
    up.
    """
    if not 1 <= processes <= MOST_PROCESSES:
        raise BadInputError(f"{processes} processes is not between 1 and {MOST_PROCESSES}")
    slots = [[queue] for queue, count in queues.items() for _ in range(count or 0)]
    shared = [queue for queue, count in queues.items() if count is None]
    rest = processes - len(slots)
    if rest < 0 or (rest == 0 and shared):
        raise BadInputError(f"the queues named ask for more than {processes} processes: {dict(queues)}")
    return slots + [list(shared or known) for _ in range(rest)]


@dataclass(slots=True, eq=False)
class WorkerSlot:
    """A place for one worker process. A surplus one has a worker that finishes its batch, and gets none after it."""

    number: int
    queues: Sequence[str]
    start_at: float = 0.0
    failed_starts: int = 0
    is_surplus: bool = False

    def pause(self) -> None:
        """Start the next worker after a pause that grows with the starts that fail in a row."""
        self.failed_starts += 1
        bound = min(_LONGEST_RESTART_PAUSE, 0.25 * 2.0 ** min(self.failed_starts, 10))
        self.start_at = time.monotonic() + random.uniform(bound / 2, bound)  # noqa: S311  # spreads restarts

    def start_soon(self) -> None:
        """Start the next worker at once: the last one has worked."""
        self.failed_starts, self.start_at = 0, time.monotonic()


class SlotTable:
    """The slots of a fleet and the workers in them. Only the fleet's thread changes it."""

    def __init__(self, plan: Sequence[Sequence[str]]) -> None:
        self._slots: dict[int, WorkerSlot] = {}
        self._children: dict[int, Child] = {}
        self.fit(plan)

    def children(self) -> list[Child]:
        """Return the workers that run."""
        return list(self._children.values())

    def wanted(self) -> list[WorkerSlot]:
        """Return the slots that are to have a worker."""
        return [slot for slot in list(self._slots.values()) if not slot.is_surplus]

    @property
    def has_surplus(self) -> bool:
        """True while a worker of a surplus slot finishes its batch."""
        return len(self.wanted()) < len(self._slots)

    def fit(self, plan: Sequence[Sequence[str]]) -> list[Child]:
        """Add the slots that a plan lacks; returns the workers for which it has no place, idle ones first.

        Surplus slots are used again before any is added. Numbers are as small as possible: metrics have them as labels.
        """
        lacking = Counter(tuple(queues) for queues in plan)
        for slot in sorted(self._slots.values(), key=self._rank):
            queues = tuple(slot.queues)
            slot.is_surplus = not lacking[queues]
            if not slot.is_surplus:
                lacking[queues] -= 1
        numbers = (number for number in itertools.count() if number not in self._slots)
        for queues in lacking.elements():
            number = next(numbers)
            self._slots[number] = WorkerSlot(number, list(queues))
        surplus = [slot for slot in self._slots.values() if slot.is_surplus]
        for slot in surplus:
            if slot.number not in self._children:
                del self._slots[slot.number]
        return [self._children[slot.number] for slot in surplus if slot.number in self._children]

    def _rank(self, slot: WorkerSlot) -> int:
        """Which slots a smaller plan keeps: those that execute, then those that could, then those that start."""
        child = self._children.get(slot.number)
        if child is None or child.stopping:
            return 3
        return 0 if child.busy else 1 if child.ready else 2

    def put(self, child: Child) -> None:
        """Put a worker into its slot."""
        self._children[child.slot] = child

    def holds(self, child: Child) -> bool:
        """True until the worker was taken out of its slot."""
        return self._children.get(child.slot) is child

    def take_out(self, child: Child) -> None:
        """Take a worker that has ended out of its slot."""
        del self._children[child.slot]

    def free(self, child: Child, ending: Ending) -> None:
        """Let the slot of a worker have the next one: at once after one that worked, else after a growing pause."""
        slot = self._slots[child.slot]
        if slot.is_surplus:
            del self._slots[slot.number]
        elif child.ready and (not ending.reason or child.items_done or child.suspects):
            slot.start_soon()
        else:
            slot.pause()

    def list_due(self, now: float) -> list[WorkerSlot]:
        """Return the slots without a worker that may start one."""
        return [slot for slot in self._list_empty() if now >= slot.start_at]

    def next_start(self, now: float) -> float:
        """Return when the next slot may start its worker, of those that may not yet; infinity without one."""
        return min((slot.start_at for slot in self._list_empty() if slot.start_at > now), default=float("inf"))

    def _list_empty(self) -> list[WorkerSlot]:
        return [slot for slot in self._slots.values() if slot.number not in self._children]
