"""What a client can ask of the pool; each way to ask it is a door, and all doors answer alike."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from streamworkers.client.records import EventPage, RunItem, RunState, SubmittableJob, Submitted
from streamworkers.client.steps import Steps


class Door(Protocol):
    """One way to the pool. Nothing here is repeated or waited for: that is the business of `ClientCalls`."""

    checks_parameters: bool  # false: what is at the door does so
    waits: bool  # for events; false: the caller pauses

    def submit(self, requests: Sequence[Mapping[str, Any]], call_key: str) -> Steps[list[Submitted]]:
        """Submit runs, all or none; returns the run of each request. `call_key` is that of this call and its tries."""
        ...

    def read_run(self, run_id: int, seconds: float | None = None) -> Steps[RunState]:
        """Return the state of a run, within so many seconds. Raises UnknownRunError."""
        ...

    def list_runs(self, chosen: Mapping[str, str | None], before: int | None, limit: int) -> Steps[list[RunState]]:
        """Return the newest runs with the chosen job, status and user that are older than `before`, newest first."""
        ...

    def read_events(self, run_id: int, after: int, seconds: float) -> Steps[EventPage]:
        """Return the next events of a run; a door that `waits` waits for them for a while. Raises UnknownRunError."""
        ...

    def read_items(self, run_id: int, after: int, limit: int) -> Steps[list[RunItem]]:
        """Return the next items of a run, by their place in it."""
        ...

    def find_items(self, run_id: int, key: str, timeframe: str | None) -> Steps[list[RunItem]]:
        """Return up to two items of a run with a key, of a timeframe or of any."""
        ...

    def may_repeat(self, requests: Sequence[Mapping[str, Any]]) -> bool:
        """True if submitting these requests again makes no second run, although the first outcome is unknown."""
        ...

    def cancel(self, run_id: int) -> Steps[int]:
        """Cancel a run; returns the number of items that were open, 0 if it was cancelled. Raises RunEndedError."""
        ...

    def read_jobs(self) -> Steps[list[SubmittableJob]]:
        """Return the jobs that processes of the pool have installed, each in its releases, the newest last."""
        ...
