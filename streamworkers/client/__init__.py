"""Start runs from a program, wait for them and read their results, without the jobs' code and without Redis.

::

    from streamworkers.client import Client

    with Client() as client:
        run = client.enqueue("analysis", symbols=["AAPL"], key="AAPL 2026-11-26")
        print(run.wait(60).status, run.result("AAPL"))

`AsyncClient` has the same methods, as coroutines. docs/guides/client.md is the guide.
"""

from streamworkers.client.async_client import AsyncClient, AsyncRunHandle
from streamworkers.client.client import Client, RunHandle
from streamworkers.client.records import RunEvent, RunItem, RunState, SubmittableJob
from streamworkers.client.request import Request, RequestFields, TypedJob
from streamworkers.errors import (
    BadInputError,
    KeyConflictError,
    NoResultError,
    RunEndedError,
    RunRejectedError,
    ServiceUnreachableError,
    StreamworkersError,
    UnknownJobError,
    UnknownOutcomeError,
    UnknownRunError,
    WaitTimeoutError,
)

__all__ = [
    "AsyncClient",
    "AsyncRunHandle",
    "BadInputError",
    "Client",
    "KeyConflictError",
    "NoResultError",
    "Request",
    "RequestFields",
    "RunEndedError",
    "RunEvent",
    "RunHandle",
    "RunItem",
    "RunRejectedError",
    "RunState",
    "ServiceUnreachableError",
    "StreamworkersError",
    "SubmittableJob",
    "TypedJob",
    "UnknownJobError",
    "UnknownOutcomeError",
    "UnknownRunError",
    "WaitTimeoutError",
]
