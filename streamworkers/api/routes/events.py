"""The route that follows a run."""

import re
from typing import Annotated

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.event_answers import EVENT_STREAM, EventsWanted, describe_page
from streamworkers.api.event_feed import MOST_EVENTS
from streamworkers.api.operation import Operation
from streamworkers.api.problem import InvalidInput
from streamworkers.api.routes.finding import find_run
from streamworkers.api.routes.types import EventPageView
from streamworkers.engine.ledger import OPEN_RUN_STATES
from streamworkers.engine.ledger.durability import commit_safely
from streamworkers.engine.ledger.run_events import Position, read_events

_ID = re.compile(r"(?:([0-9]{1,19}):)?([0-9]{1,10})")
_LARGEST_SEQ = 2**31 - 1


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Behind which event to begin, and how many seconds to wait for the next. Either asks for a page, not a stream."""

    after: str | None = None
    wait: Annotated[float, msgspec.Meta(ge=0, le=30)] | None = None


def _follow_run(call: ApiCall) -> ApiAnswer:
    """Follow the events of a run: what happens to it, without a gap, from the first one or behind `Last-Event-ID`.

    Without parameters the answer is a stream of server-sent events, which ends with the run; 204 says that the run has
    ended and all is known. With `after` or `wait` the answer is a page of JSON. An event `resync` has the state of the
    run, in place of events that are not kept.
    """
    query: EventsQuery = call.query
    row = find_run(call)
    accepted = call.headers.get("accept", "")
    asks_for_page = query.after is not None or query.wait is not None or "application/json" in accepted
    is_stream = EVENT_STREAM in accepted or not asks_for_page
    last_id = call.headers.get("last-event-id")
    after = _read_id("Last-Event-ID", last_id, row["id"]) if last_id else _read_id("after", query.after, row["id"])
    position = Position(row["id"], after)
    if not is_stream:
        return _answer_page(call, position, query.wait or 0.0)
    if row["status"] not in OPEN_RUN_STATES and after == row["last_event"]:
        return ApiAnswer(None, 204)
    return ApiAnswer(None, follow=EventsWanted(position, None))


def _answer_page(call: ApiCall, position: Position, wait: float) -> ApiAnswer:
    (page,) = read_events(call.connection, [position], MOST_EVENTS)
    if page.events:
        commit_safely(call.connection)
    elif wait and not page.is_over:
        return ApiAnswer(None, follow=EventsWanted(position, wait))
    return ApiAnswer(describe_page(position, page))


def _read_id(name: str, text: str | None, run_id: int) -> int:
    """Return the number of an event of this run: `RUN:NUMBER`, or the number alone. Raises InvalidInput."""
    if text is None:
        return 0
    match = _ID.fullmatch(text.strip())
    if match is None or int(match[1] or run_id) != run_id or int(match[2]) > _LARGEST_SEQ:
        raise InvalidInput(f"{name} {text[:80]!r} is not the id of an event of this run, such as {run_id}:1")
    return int(match[2])


EVENT_OPERATIONS = (
    Operation(
        *("GET", "/runs/{run}/events", "Follow a run", _follow_run, EventPageView),
        query=EventsQuery,
        object_type="run",
        problems=(404,),
        is_stream=True,
    ),
)
