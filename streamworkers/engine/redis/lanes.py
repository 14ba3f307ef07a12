"""The lanes of a queue: one for each priority of runs, with a stream, a delayed set and counts of its own.

The normal lane has the queue's own name, the others that of their priority behind a slash, as `analysis/high`; a
queue's name has none. `runs.queue` holds the lane, so that whatever keeps entries in order does so lane by lane.
Within a lane it is first come, first served. A process of a release that has no lanes serves the normal one.
"""

from collections.abc import Iterable
from typing import Literal, get_args

from streamworkers.errors import BadInputError

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
LARGE_RUN = 10_000  # a run of more items steps aside unless it names its priority
TURNS = 4  # every so many reads begin with those that come later, so that nothing starves


def name_lane(queue: str, priority: Priority) -> str:
    """Return the lane of a queue for runs of a priority."""
    return queue if priority == "normal" else f"{queue}/{priority}"


def queue_of(lane: str) -> str:
    """Return the queue that a lane is a part of."""
    return lane.partition("/")[0]


def priority_of(lane: str) -> Priority:
    """Return the priority of the runs in a lane."""
    name = lane.partition("/")[2]
    return next((priority for priority in PRIORITIES if priority == name), "normal")


def lanes_of(queue: str) -> tuple[str, ...]:
    """Return the lanes of a queue, in the order in which they are read."""
    return tuple(name_lane(queue, priority) for priority in PRIORITIES)


def describe_lane(lane: str) -> str:
    """Return a lane in words, as `queue analysis, priority low`."""
    priority = priority_of(lane)
    return f"queue {queue_of(lane)}" + ("" if priority == "normal" else f", priority {priority}")


def list_lanes(queues: Iterable[str]) -> list[str]:
    """Return the lanes of queues, or of lanes, each once."""
    return list(dict.fromkeys(lane for queue in queues for lane in lanes_of(queue_of(queue))))


def list_queues_of(lanes: Iterable[str]) -> list[str]:
    """Return the queues of lanes, each once."""
    return list(dict.fromkeys(map(queue_of, lanes)))


def require_priority(text: object) -> Priority:
    """Return the priority of that name. Raises BadInputError for anything else."""
    for priority in PRIORITIES:
        if priority == text:
            return priority
    raise BadInputError(f"priority {text!r:.80} is not one of {', '.join(PRIORITIES)}")


def choose_priority(named: Priority | None, item_count: int) -> Priority:
    """Return the priority of a run: the one that it names, else low if it is large, so that no other waits for it."""
    if named is not None:
        return named
    return "low" if item_count > LARGE_RUN else "normal"


class ReadingOrder:
    """The order in which a worker asks its lanes for entries.

    High lanes come before normal ones, and these before low ones; those of the `first` queues rank one higher. Lanes of
    a rank take turns. Of every `TURNS` reads one begins with a later rank, each in its turn, so that nothing starves.
    """

    def __init__(self, lanes: Iterable[str], first: Iterable[str] = ()) -> None:
        self._first = frozenset(first)
        ranks: dict[int, list[str]] = {}
        for lane in lanes:
            ranks.setdefault(self._rank_of(lane), []).append(lane)
        self._ranks = [ranks[rank] for rank in sorted(ranks)]
        self._reads = 0

    def next(self) -> list[str]:
        """Return all lanes in the order of the next read."""
        self._reads += 1
        turn, left = divmod(self._reads, TURNS)
        if left or len(self._ranks) == 1:
            return _rotate_each(self._ranks, self._reads - turn)
        count, place = divmod(turn, len(self._ranks) - 1)
        favoured = self._ranks[place + 1]
        # If these are empty, the latest of the others have the turn.
        return _rotate_each([favoured, *(each for each in reversed(self._ranks) if each is not favoured)], count)

    def _rank_of(self, lane: str) -> int:
        rank = PRIORITIES.index(priority_of(lane))
        return max(0, rank - 1) if queue_of(lane) in self._first else rank


def _rotate_each(ranks: Iterable[list[str]], count: int) -> list[str]:
    return [rank[(place + count) % len(rank)] for rank in ranks for place in range(len(rank))]
