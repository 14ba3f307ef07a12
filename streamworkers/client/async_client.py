"""The asynchronous client: the same methods as those of `Client`, as coroutines."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from streamworkers.client.caller_connection import run_on_async
from streamworkers.client.calls import ITEMS_OF_A_PAGE, ClientCalls
from streamworkers.client.following import LONGEST_SECONDS, Following
from streamworkers.client.options import ClientOptions
from streamworkers.client.own_connections import AsyncOwnConnections
from streamworkers.client.records import RunEvent, RunItem, RunState, RunStatus, SubmittableJob, Submitted
from streamworkers.client.request import Request, RequestFields, TypedJob, encode
from streamworkers.client.steps import CallReply, HttpCall, Pause, Query, Rows, Step, Steps, take_steps_async
from streamworkers.errors import BadInputError

if TYPE_CHECKING:
    from streamworkers.client.http_connections import AsyncHttpConnections

P = TypeVar("P")
T = TypeVar("T")


class AsyncClient:
    """Submits runs and reads them from coroutines; its arguments are those of `Client`."""

    def __init__(
        self, url: str | None = None, *, token: str | None = None, user: str | None = None, timeout: float = 30.0
    ) -> None:
        self._options = ClientOptions.of(url, token, user, timeout)
        self._calls = ClientCalls(self._options.door)
        self._own: AsyncOwnConnections | None = None
        self._http: AsyncHttpConnections | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections of this client."""
        if self._own is not None:
            await self._own.close()
        if self._http is not None:
            await self._http.close()

    @overload
    async def enqueue(
        self,
        job: TypedJob[P],
        parameters: P | None = None,
        *,
        connection: object = None,
        **fields: Unpack[RequestFields],
    ) -> "AsyncRunHandle": ...

    @overload
    async def enqueue(
        self, job: str, parameters: object = None, *, connection: object = None, **fields: Unpack[RequestFields]
    ) -> "AsyncRunHandle": ...

    async def enqueue(
        self, job: Any, parameters: object = None, *, connection: object = None, **fields: Unpack[RequestFields]
    ) -> "AsyncRunHandle":
        """Submit one run, in the caller's transaction if a connection is given; returns it.

        With `key`, the same call again finds the same run, also after an UnknownOutcomeError. `connection` is an
        asynchronous one of psycopg, asyncpg or SQLAlchemy. Raises BadInputError, UnknownJobError and KeyConflictError,
        each before anything is written, and ServiceUnreachableError.
        """
        (made,) = await self.enqueue_many([Request.of(job, parameters, **fields)], connection=connection)
        return made

    async def enqueue_many(self, requests: Sequence[Request], *, connection: object = None) -> "list[AsyncRunHandle]":
        """Submit up to 10,000 runs in one statement, all or none; returns them in the same order."""
        encoded = [encode(request, self._options.user) for request in requests]
        steps = self._calls.submit(encoded, repeats=connection is None)
        return [AsyncRunHandle(self, made) for made in await self._take(steps, connection)]

    async def run(self, run_id: int) -> "AsyncRunHandle":
        """Return a run that was submitted earlier, by its id."""
        state = await self._take(self._calls.door.read_run(run_id))
        return AsyncRunHandle(self, Submitted(state.id, state.run_id, False))

    async def runs(
        self,
        *,
        job: str | None = None,
        status: RunStatus | None = None,
        user: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        """Return the newest runs that this login has submitted, newest first; `before` is the id of an older page."""
        return await self._take(self._calls.list_runs({"job": job, "status": status, "user": user}, before, limit))

    async def events(self, run_id: int, seconds: float = LONGEST_SECONDS, *, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield what happens to a run, from its first event or behind number `after`, until it has ended.

        No event is missing and none comes twice, whatever is away in between; where some are not kept any more, one of
        kind `resync` has the state of the run. Raises WaitTimeoutError after `seconds`, and UnknownRunError.
        """
        following = Following(self._calls.door, run_id, after, seconds)
        while not following.is_over:
            for event in await self._take(following.read_page()):
                yield event

    async def jobs(self) -> list[SubmittableJob]:
        """Return the jobs that can be submitted, by name; of a job in two releases, both."""
        return await self._take(self._calls.door.read_jobs())

    async def _take(self, steps: Steps[T], connection: object = None) -> T:
        async def answer(step: Step) -> Any:
            if isinstance(step, Pause):
                return await asyncio.sleep(step.seconds)
            if isinstance(step, HttpCall):
                return await self._call(step, connection)
            return await (self._run(step) if connection is None else run_on_async(connection, step))

        return await take_steps_async(steps, answer)

    async def _run(self, query: Query) -> Rows:
        if self._own is None:
            self._own = AsyncOwnConnections(self._options.database_url, self._options.timeout)
        return await self._own.run(query)

    async def _call(self, call: HttpCall, connection: object) -> CallReply:
        if connection is not None:
            raise BadInputError("only a client on PostgreSQL submits in your own transaction, not one on the HTTP API")
        if self._http is None:
            from streamworkers.client.http_connections import AsyncHttpConnections

            options = self._options
            self._http = AsyncHttpConnections(options.api_url, options.api_token, options.timeout)
        return await self._http.run(call)


class AsyncRunHandle:
    """A submitted run: waits for it, cancels it, and reads its results."""

    def __init__(self, client: AsyncClient, run: Submitted) -> None:
        self._client = client
        self.id, self.run_id, self.is_new, self.warnings = run.id, run.run_id, run.is_new, tuple(run.warnings)

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    async def state(self) -> RunState:
        """Return the state of the run now. Raises UnknownRunError before its transaction has committed."""
        return await self._client._take(self._client._calls.door.read_run(self.id))

    async def wait(self, seconds: float) -> RunState:
        """Wait until the run has ended; returns its state.

        Raises WaitTimeoutError if that takes longer, and RunRejectedError if the job rejects the request. A run that
        failed raises nothing: see `status`, or `succeeded`.
        """
        return await self._client._take(self._client._calls.wait(self.id, seconds))

    def events(self, seconds: float = LONGEST_SECONDS, *, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield what happens to the run until it has ended, as `AsyncClient.events` does."""
        return self._client.events(self.id, seconds, after=after)

    async def result(self, key: str, timeframe: str | None = None) -> Any:
        """Return what the job returned for an item, such as a symbol. Raises NoResultError, with the item's error."""
        return await self._client._take(self._client._calls.read_result(self.id, key, timeframe))

    async def ledger(self) -> AsyncIterator[RunItem]:
        """Yield the items of the run in their order, read in pages, each with its state, attempts and error."""
        after = -1
        while page := await self._client._take(self._client._calls.door.read_items(self.id, after, ITEMS_OF_A_PAGE)):
            for item in page:
                yield item
            after = page[-1].seq

    async def cancel(self) -> int:
        """Cancel the run; returns the number of items that were open. Raises RunEndedError if it ended otherwise."""
        return await self._client._take(self._client._calls.cancel(self.id))
