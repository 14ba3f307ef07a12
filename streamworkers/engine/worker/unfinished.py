"""Batches that were executed and are not finished yet, so that several small ones are finished in one step."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from streamworkers.database import Connection
from streamworkers.engine.job import Context, Job
from streamworkers.engine.ledger import Run
from streamworkers.engine.outcome import Outcome
from streamworkers.engine.protocol import BatchReport
from streamworkers.engine.redis.entry import Entry
from streamworkers.engine.redis.queue import FinishedBatch
from streamworkers.engine.worker.decide import Decisions

# How long what is done may wait for what follows it in the same delivery.
MOST_SECONDS = 0.05


class Call(NamedTuple):
    """What stays the same for all batches of a run."""

    run: Run
    job: Job[Any]
    context: Context[Any]
    connection: Connection


class ExecutedBatch(NamedTuple):
    """A batch whose outcomes are not committed yet, because all its items are completed and nothing is to be saved."""

    call: Call
    entries: Sequence[Entry]
    outcomes: Mapping[int, Outcome]
    decisions: Decisions
    started_at: datetime
    report: BatchReport


class CommittedBatch(NamedTuple):
    """A committed batch: its run, the items of the commit, what leaves the queue, and what is reported then.

    `has_stopped_run` is true if the commit may have ended the run while it had other open items.
    """

    run: Run
    seqs: Sequence[int]
    leaving: FinishedBatch
    report: BatchReport
    has_stopped_run: bool = False


@dataclass(slots=True)
class Unfinished:
    """The batches of one consumer since it last finished any.

    If the process dies, their entries are delivered again: those of committed batches are found closed, the others are
    executed again. `more_follow` is true while another call of the same delivery follows; `is_lazy` if one of the
    commits may not be on disk yet.
    """

    more_follow: bool = False
    is_lazy: bool = False
    executed: list[ExecutedBatch] = field(default_factory=list)
    committed: list[CommittedBatch] = field(default_factory=list)
    _since: float | None = None
    _paces: dict[str, float] = field(default_factory=dict)

    def add(self, batch: ExecutedBatch | CommittedBatch) -> None:
        """Add a batch that something remains to be done for."""
        self._since = time.monotonic() if self._since is None else self._since
        if isinstance(batch, ExecutedBatch):
            self.executed.append(batch)
        else:
            self.committed.append(batch)

    def note_pace(self, job: str, items: int, seconds: float) -> None:
        """Note how long the last call of a job took."""
        self._paces[job] = seconds / items

    def is_due(self, job: str, entries: Sequence[Entry]) -> bool:
        """True if nothing should wait for a call with these entries.

        The call may take too long, going by the last one of its job, or end the process: an entry that has to be
        isolated may have done so before.
        """
        if self._since is None:
            return False
        seconds = self._paces.get(job, MOST_SECONDS) * len(entries)
        return entries[0].isolated or time.monotonic() + seconds - self._since > MOST_SECONDS

    def take_executed(self) -> list[ExecutedBatch]:
        """Return the batches that are to be committed, and forget them."""
        executed, self.executed = self.executed, []
        return executed

    def take_committed(self) -> list[CommittedBatch]:
        """Return the committed batches, and forget them."""
        committed, self.committed, self.is_lazy, self._since = self.committed, [], False, None
        return committed

    def forget(self) -> None:
        """Forget all batches, of an execution that was broken off: the ledger knows better."""
        self.take_executed()
        self.take_committed()
