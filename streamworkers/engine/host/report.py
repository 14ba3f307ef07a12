"""What a worker process tells its supervisor, as it works: the contract between the two."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from streamworkers.engine.ledger.runs import Run


@dataclass(slots=True)
class BatchReport:
    """Counts of one batch, in items, and its times; `tallies` are of the job's own counters, name and labels first."""

    completed: int = 0
    failed: int = 0
    retried: int = 0
    snoozed: int = 0
    fenced: int = 0
    dropped: int = 0
    events: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    requeue_seconds: float = 0.0
    tallies: list[tuple[list[str], int]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


class Reporter(Protocol):
    """The listener's side of the contract."""

    def holding(self) -> None:
        """A service is away; the process waits and is well."""

    def call_started(self, queue: str, job: str | None, entry_ids: Sequence[str], timeout_seconds: float) -> None:
        """A handler has the process now, with these entries; end it when it does not come back in time.

        Without a job it is not their execution yet, but the check of their run's parameters.
        """

    def committing(self, run: Run, seqs: Sequence[int]) -> None:
        """The handler came back; these items are about to be closed."""

    def finished(self, run: Run, report: BatchReport) -> None:
        """The items of the last `committing` are closed, and their entries have left the queue."""

    def rejected(self, queue: str, count: int) -> None:
        """Entries that are no items of ours were taken out of the queue."""
