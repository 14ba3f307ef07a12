"""The synchronous client, and the runs that it has submitted."""

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from streamworkers.client.caller_connection import run_on
from streamworkers.client.calls import ITEMS_OF_A_PAGE, ClientCalls
from streamworkers.client.following import LONGEST_SECONDS, Following
from streamworkers.client.options import ClientOptions
from streamworkers.client.own_connections import OwnConnections
from streamworkers.client.records import RunEvent, RunItem, RunState, RunStatus, SubmittableJob, Submitted
from streamworkers.client.request import Request, RequestFields, TypedJob, encode
from streamworkers.client.steps import CallReply, HttpCall, Pause, Query, Rows, Step, Steps, take_steps
from streamworkers.errors import BadInputError

if TYPE_CHECKING:
    from streamworkers.client.http_connections import HttpConnections

P = TypeVar("P")
T = TypeVar("T")


class Client:
    """Submits runs and reads them, from any thread; the connections are opened when they are first needed.

    `url` is that of PostgreSQL, by default STREAMWORKERS_DATABASE_URL or that of the embedded one, or the https:// URL
    of the HTTP API, which needs a `token`. `user` is for whom runs are submitted, by default the login; over HTTP it is
    that of the token. No try of a call takes much longer than `timeout` seconds, or the seconds that the call is given.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, user: str | None = None, timeout: float = 30.0
    ) -> None:
        self._options = ClientOptions.of(url, token, user, timeout)
        self._calls = ClientCalls(self._options.door)
        self._own: OwnConnections | None = None
        self._http: HttpConnections | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of this client."""
        if self._own is not None:
            self._own.close()
        if self._http is not None:
            self._http.close()

    @overload
    def enqueue(
        self,
        job: TypedJob[P],
        parameters: P | None = None,
        *,
        connection: object = None,
        **fields: Unpack[RequestFields],
    ) -> "RunHandle": ...

    @overload
    def enqueue(
        self, job: str, parameters: object = None, *, connection: object = None, **fields: Unpack[RequestFields]
    ) -> "RunHandle": ...

    def enqueue(
        self, job: Any, parameters: object = None, *, connection: object = None, **fields: Unpack[RequestFields]
    ) -> "RunHandle":
        """Submit one run, in the caller's transaction if a connection is given; returns it.

        With `key`, the same call again finds the same run, also after an UnknownOutcomeError. `connection` is one of
        psycopg, SQLAlchemy or Django. Raises BadInputError, UnknownJobError and KeyConflictError, each before anything
        is written, and ServiceUnreachableError.
        """
        return self.enqueue_many([Request.of(job, parameters, **fields)], connection=connection)[0]

    def enqueue_many(self, requests: Sequence[Request], *, connection: object = None) -> "list[RunHandle]":
        """Submit up to 10,000 runs in one statement, all or none; returns them in the same order."""
        encoded = [encode(request, self._options.user) for request in requests]
        steps = self._calls.submit(encoded, repeats=connection is None)
        return [RunHandle(self, made) for made in self._take(steps, connection)]

    def run(self, run_id: int) -> "RunHandle":
        """Return a run that was submitted earlier, by its id."""
        state = self._take(self._calls.door.read_run(run_id))
        return RunHandle(self, Submitted(state.id, state.run_id, False))

    def runs(
        self,
        *,
        job: str | None = None,
        status: RunStatus | None = None,
        user: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Return the newest runs that this login has submitted, newest first; `before` is the id of an older page."""
        return self._take(self._calls.list_runs({"job": job, "status": status, "user": user}, before, limit))

    def events(self, run_id: int, seconds: float = LONGEST_SECONDS, *, after: int = 0) -> Iterator[RunEvent]:
        """Yield what happens to a run, from its first event or behind number `after`, until it has ended.

        No event is missing and none comes twice, whatever is away in between; where some are not kept any more, one of
        kind `resync` has the state of the run. Raises WaitTimeoutError after `seconds`, and UnknownRunError.
        """
        following = Following(self._calls.door, run_id, after, seconds)
        while not following.is_over:
            yield from self._take(following.read_page())

    def jobs(self) -> list[SubmittableJob]:
        """Return the jobs that can be submitted, by name; of a job in two releases, both."""
        return self._take(self._calls.door.read_jobs())

    def _take(self, steps: Steps[T], connection: object = None) -> T:
        def answer(step: Step) -> Any:
            if isinstance(step, Pause):
                return time.sleep(step.seconds)
            if isinstance(step, HttpCall):
                return self._call(step, connection)
            return self._run(step) if connection is None else run_on(connection, step)

        return take_steps(steps, answer)

    def _run(self, query: Query) -> Rows:
        if self._own is None:
            self._own = OwnConnections(self._options.database_url, self._options.timeout)
        return self._own.run(query)

    def _call(self, call: HttpCall, connection: object) -> CallReply:
        if connection is not None:
            raise BadInputError("only a client on PostgreSQL submits in your own transaction, not one on the HTTP API")
        if self._http is None:
            from streamworkers.client.http_connections import HttpConnections

            options = self._options
            self._http = HttpConnections(options.api_url, options.api_token, options.timeout)
        return self._http.run(call)


class RunHandle:
    """A submitted run: waits for it, cancels it, and reads its results."""

    def __init__(self, client: Client, run: Submitted) -> None:
        self._client = client
        self.id, self.run_id, self.is_new, self.warnings = run.id, run.run_id, run.is_new, tuple(run.warnings)

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    def state(self) -> RunState:
        """Return the state of the run now. Raises UnknownRunError before its transaction has committed."""
        return self._client._take(self._client._calls.door.read_run(self.id))

    def wait(self, seconds: float) -> RunState:
        """Wait until the run has ended; returns its state.

        Raises WaitTimeoutError if that takes longer, and RunRejectedError if the job rejects the request. A run that
        failed raises nothing: see `status`, or `succeeded`.
        """
        return self._client._take(self._client._calls.wait(self.id, seconds))

    def events(self, seconds: float = LONGEST_SECONDS, *, after: int = 0) -> Iterator[RunEvent]:
        """Yield what happens to the run until it has ended, as `Client.events` does."""
        return self._client.events(self.id, seconds, after=after)

    def result(self, key: str, timeframe: str | None = None) -> Any:
        """Return what the job returned for an item, such as a symbol. Raises NoResultError, with the item's error."""
        return self._client._take(self._client._calls.read_result(self.id, key, timeframe))

    def ledger(self) -> Iterator[RunItem]:
        """Yield the items of the run in their order, read in pages, each with its state, attempts and error."""
        after = -1
        while page := self._client._take(self._client._calls.door.read_items(self.id, after, ITEMS_OF_A_PAGE)):
            yield from page
            after = page[-1].seq

    def cancel(self) -> int:
        """Cancel the run; returns the number of items that were open. Raises RunEndedError if it ended otherwise."""
        return self._client._take(self._client._calls.cancel(self.id))
