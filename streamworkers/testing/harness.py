"""The harness: runs one's own job in a test, inline or with real services."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from streamworkers.engine.job import Job, JobParameters, Origin, RunRequest
from streamworkers.engine.registry import Registry
from streamworkers.errors import BadInputError
from streamworkers.testing.given_rows import AnswerQuery, GivenRows, NotGiven
from streamworkers.testing.inline import InlineRun
from streamworkers.testing.tried import HarnessRun

if TYPE_CHECKING:
    from streamworkers.testing.installation import Installation

P = TypeVar("P", bound=JobParameters)
V = TypeVar("V")
_GIVE = "give JobHarness a connection=, rows with answer=, or an installation="


class JobHarness(Generic[P, V]):
    """Runs a job in a test, as the pool would.

    Without more, or with one of these, a run is inline: `prepare` and `execute` are called in this process without any
    service, and nothing is saved.

    - `connection`: what the job reads with, a connection of psycopg.
    - `answer`: in its place, a function from a statement and its parameters to rows.

    With an `installation`, a database and a key prefix of real services, a run is in the ledger: all its items are
    executed twice at the same time, as by two workers of which one was thought dead, and `save` is called under the
    fence. `run` raises AssertionError if `execute` writes into a table, or if the second execution changes anything.
    `writes_in_execute` names tables in which `execute` may write, such as those of calls to the outside.
    """

    def __init__(
        self,
        job: type[Job[P, V]] | Job[P, V],
        *,
        connection: Any = None,
        answer: AnswerQuery | None = None,
        installation: "Installation | None" = None,
        writes_in_execute: Sequence[str] = (),
    ) -> None:
        self.job = job() if isinstance(job, type) else job
        Registry([self.job])  # which rejects a job that no pool would take
        if sum(each is not None for each in (connection, answer, installation)) > 1:
            raise BadInputError("a harness has one of connection, answer and installation")
        if writes_in_execute and installation is None:
            raise BadInputError("writes_in_execute is for a harness with an installation: inline, nothing is watched")
        self._installation, self._writes = installation, tuple(writes_in_execute)
        self._connection = connection
        if answer is not None:
            self._connection = GivenRows(answer)
        elif connection is None:
            self._connection = NotGiven("connection", _GIVE)

    def run(
        self,
        keys: Sequence[str] = (),
        parameters: P | Mapping[str, Any] | None = None,
        *,
        as_of: datetime | None = None,
        timeframes: Sequence[str] = (),
        scheduled_for: datetime | None = None,
        max_attempts: int | None = None,
        attempts: int = 1,
    ) -> HarnessRun[V]:
        """Run the job over items with these keys, such as symbols; returns what it did with each.

        Items that fail are executed again until they had so many `attempts`. A batch that raises is repeated item by
        item. What a handler raises about one item is kept with it, and raised by its `value`. With `scheduled_for`,
        the run is that of a tick. Raises what `enqueue` would, and whatever `prepare` raises.
        """
        if not 1 <= attempts <= 100:
            raise BadInputError(f"attempts {attempts} is not between 1 and 100")
        request = RunRequest(
            self.job.name,
            tuple(keys),
            "test",
            timeframe=timeframes[0] if len(timeframes) == 1 else None,
            as_of=as_of,
            parameters=_dump(parameters),
            max_attempts=max_attempts,
            timeframes=tuple(timeframes) if len(timeframes) > 1 else (),
            origin=Origin() if scheduled_for is None else Origin("schedule", scheduled_for=scheduled_for),
        )
        if self._installation is None:
            return InlineRun(self.job, self._connection, request).execute(attempts)
        from streamworkers.testing.twice import run_twice

        return run_twice(self._installation, self.job, request, attempts, self._writes)


def _dump(parameters: JobParameters | Mapping[str, Any] | None) -> dict[str, Any]:
    if isinstance(parameters, JobParameters):
        return parameters.model_dump(mode="json")
    return dict(parameters or {})
