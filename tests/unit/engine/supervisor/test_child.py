"""What a supervisor knows of a worker's commits, from its messages alone."""

import os
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from streamworkers.engine.ledger import Run
from streamworkers.engine.protocol import BatchReport, StatusPipe, StatusReader
from streamworkers.engine.supervisor.child import Child

DAY = date(2026, 1, 2)


def _run(run_id: int) -> Run:
    return Run(run_id, "job", "q", "RUNNING", None, None, {}, DAY, 3, 5, True)


class Told:
    """A worker's end of the pipe, and its supervisor's view of it."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self.pipe = StatusPipe(self.writing)
        process: Any = None  # no process is needed to read messages
        self.child = Child(0, "w", ["q"], process, StatusReader(reading), 0.0)

    def pending(self) -> dict[int, list[int]]:
        """The items that may be closed by now, by run."""
        self.pipe.rejected("q", 0)  # a report is sent with the next message
        assert self.child.listen(0.0)
        return {run_id: sorted(pending.seqs) for run_id, pending in self.child.pending_commits.items()}

    def unconfirmed(self) -> list[tuple[int, list[int]]]:
        """The items that the ledger has to be asked for."""
        return [(pending.run_id, list(pending.seqs)) for pending in self.child.unconfirmed]


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.child.reader.close()
    os.close(told.writing)


def test_commits_of_several_runs_are_pending_until_each_is_reported(told: Told) -> None:
    told.pipe.committing(_run(1), [0, 1])
    told.pipe.committing(_run(2), [0])
    told.pipe.committing(_run(1), [2])
    assert told.pending() == {1: [0, 1, 2], 2: [0]}
    told.pipe.finished(_run(1), [0, 1], BatchReport(completed=2))
    assert told.pending() == {1: [2], 2: [0]}
    told.pipe.finished(_run(2), [0], BatchReport(completed=1))
    told.pipe.finished(_run(1), [2], BatchReport(completed=1))
    assert told.pending() == {}
    assert told.unconfirmed() == []
    assert told.child.items_done == 4


def test_of_an_interrupted_commit_only_what_is_found_closed_is_asked_for(told: Told) -> None:
    told.pipe.committing(_run(1), [0, 1])
    told.pipe.committing(_run(1), [2, 3])
    told.pipe.finished(_run(1), [0, 1, 7], BatchReport(dropped=3))
    assert told.pending() == {1: [2, 3]}
    assert told.unconfirmed() == [(1, [0, 1])]
    told.pipe.committing(_run(1), [2, 3])  # it is executed again
    told.pipe.finished(_run(1), [2, 3], BatchReport(completed=2))
    assert told.pending() == {}
    assert told.unconfirmed() == [(1, [0, 1])]
