"""A client's calls over the HTTP API: what each answer means. The user is that of the token."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from streamworkers.client.door import Door
from streamworkers.client.records import EventPage, RunItem, RunState, SubmittableJob, Submitted
from streamworkers.client.steps import CallReply, HttpCall, Pause, Steps
from streamworkers.errors import (
    BadInputError,
    FaultKind,
    KeyConflictError,
    RunEndedError,
    ServiceUnreachableError,
    StreamworkersError,
    UnknownJobError,
    UnknownOutcomeError,
    UnknownRunError,
)

T = TypeVar("T")
_TYPE = "urn:streamworkers:problem:"
_LONGEST_PAUSE = 2.0
_LONGEST_WAIT = 20.0
_MOST_ITEMS_OF_A_KEY = 100
_RULES = {"key-conflict": KeyConflictError, "unknown-job": UnknownJobError}


class HttpDoor(Door):
    """Calls over HTTP. The API checks parameters itself; a call's key lets it be sent again."""

    checks_parameters = False
    waits = True

    def submit(self, requests: Sequence[Mapping[str, Any]], call_key: str) -> Steps[list[Submitted]]:
        """Submit runs, all or none; returns the run of each request."""
        for request in requests:
            if "user" in request:
                raise BadInputError(f"user {request['user']!r} cannot be chosen over HTTP: it is that of the token")
        if len(requests) == 1:
            made = yield from _ask(HttpCall("POST", "/runs", body=requests[0], key=call_key))
            return [_read(made, Submitted)]
        made = yield from _ask(HttpCall("POST", "/runs/batch", body={"runs": requests}, key=call_key))
        return _read(made["runs"], list[Submitted])

    def may_repeat(self, requests: Sequence[Mapping[str, Any]]) -> bool:
        """True: the key of the call is kept by the API for a day."""
        return True

    def read_run(self, run_id: int, seconds: float | None = None) -> Steps[RunState]:
        """Return the state of a run, within so many seconds. Raises UnknownRunError."""
        return _read((yield from _ask(HttpCall("GET", f"/runs/{run_id}", seconds=seconds), run_id)), RunState)

    def list_runs(self, chosen: Mapping[str, str | None], before: int | None, limit: int) -> Steps[list[RunState]]:
        """Return the newest runs that the token may see that match and are older than `before`, newest first."""
        found = yield from _ask(HttpCall("GET", "/runs", query={**chosen, "before": before, "limit": limit}))
        return _read(found["items"], list[RunState])

    def read_events(self, run_id: int, after: int, seconds: float) -> Steps[EventPage]:
        """Return the next events of a run, as soon as there are any within a while. Raises UnknownRunError."""
        wait = min(seconds, _LONGEST_WAIT)
        query = {"after": after, "wait": round(wait, 3)}
        found = yield from _ask(HttpCall("GET", f"/runs/{run_id}/events", query, waits=wait), run_id)
        return _read(found, EventPage)

    def read_items(self, run_id: int, after: int, limit: int) -> Steps[list[RunItem]]:
        """Return the next items of a run, by their place in it."""
        query = {"after": after, "limit": limit}
        found = yield from _ask(HttpCall("GET", f"/runs/{run_id}/items", query=query), run_id)
        return [_read({**row, "run_id": run_id, "key": row["symbol"]}, RunItem) for row in found["items"]]

    def find_items(self, run_id: int, key: str, timeframe: str | None) -> Steps[list[RunItem]]:
        """Return the items of a run with a key, of a timeframe or of any."""
        query = {"symbol": key, "limit": _MOST_ITEMS_OF_A_KEY}
        found = yield from _ask(HttpCall("GET", f"/runs/{run_id}/items", query=query), run_id)
        items = [_read({**row, "run_id": run_id, "key": row["symbol"]}, RunItem) for row in found["items"]]
        return [item for item in items if timeframe in (None, item.timeframe)]

    def cancel(self, run_id: int) -> Steps[int]:
        """Cancel a run; returns the number of items that were open, 0 if it was cancelled. Raises RunEndedError."""
        try:
            return int((yield from _ask(HttpCall("DELETE", f"/runs/{run_id}"), run_id))["items"])
        except RunEndedError as error:
            state = yield from self.read_run(run_id)
            if state.status == "CANCELLED":
                return 0
            text = f"run {run_id} is {state.status}, and only a run that is PENDING or RUNNING can be cancelled"
            raise RunEndedError(text) from error

    def read_jobs(self) -> Steps[list[SubmittableJob]]:
        """Return the jobs that processes of the pool have installed."""
        found = yield from _ask(HttpCall("GET", "/jobs"))
        return [_read({**row, "parameters_schema": row["parameters"]}, SubmittableJob) for row in found["jobs"]]


def _ask(call: HttpCall, run_id: int | None = None) -> Steps[Any]:
    """Make a call; returns the body of a good answer, and raises the error that any other stands for."""
    reply: CallReply = yield call
    if 200 <= reply.status < 300 and isinstance(reply.body, dict):
        return reply.body
    if reply.retry_after:
        yield Pause(min(reply.retry_after, _LONGEST_PAUSE))
    raise _to_error(call, reply, run_id)


def _to_error(call: HttpCall, reply: CallReply, run_id: int | None) -> StreamworkersError:
    body = reply.body if isinstance(reply.body, dict) else {}
    text = str(body.get("detail") or f"HTTP status {reply.status}")
    code = str(body.get("type", "")).removeprefix(_TYPE)
    match reply.status:
        case 404 if run_id is not None:
            return UnknownRunError(f"there is no run {run_id} of this token's user")
        case 409 if code == "conflict":
            return RunEndedError(text)
        case 409 | 408 | 429:
            return ServiceUnreachableError(f"the API does not do this now: {text}")
        case 400 | 413 | 414 | 415 | 422:
            return _RULES.get(code, BadInputError)(text)
        case status if 300 <= status < 500:
            return ServiceUnreachableError(f"the API rejects the call: {text}", FaultKind.REJECTED)
        case _ if call.changes:
            return UnknownOutcomeError(f"nobody knows whether the call took effect; the API answers: {text}")
    return ServiceUnreachableError(f"the API cannot answer now: {text}")


def _read(body: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(body, kind, strict=False)
    except msgspec.ValidationError as error:
        text = f"the API answers what this client does not know: {error}"
        raise ServiceUnreachableError(text, FaultKind.REJECTED) from None
