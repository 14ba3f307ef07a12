"""Items of all runs that a user may see: in any state, the newest runs first, in pages."""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.reading import read_cursor
from streamworkers.api.routes.run_lists import Moment, answer_page
from streamworkers.database import fetch_value
from streamworkers.engine.ledger.item_lists import ItemFilter, list_items

_USUAL_DAYS = 7


class AllItemsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which items; every parameter that is given must match. `error` is a part of the error, in any case.

    `since` and `until` bound when their runs were created; without `since` and `run`, that is in the last 7 days.
    """

    run: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | None = None
    job: str | None = None
    schedule: str | None = None
    symbol: str | None = None
    timeframe: str | None = None
    status: Literal["pending", "retrying", "completed", "failed", "cancelled"] | None = None
    error: str | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    cursor: str | None = None


class FoundItem(msgspec.Struct):
    """An item of any run; `seconds` is how long its last attempt took. The item of a run has its result and history."""

    run_id: int
    seq: int
    job: str
    queue: str
    schedule: str | None
    symbol: str
    timeframe: str | None
    status: str
    attempt: int
    generation: int
    worker: str | None
    error: str | None
    created_at: datetime
    enqueued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None


class FoundItems(msgspec.Struct):
    """A page of items, those of the newest runs first; `next` is the cursor of the next page, or null at the end.

    `since` is the moment before which no run was searched, or null; the page shows what was there at `as_of`.
    """

    items: list[FoundItem]
    next: str | None
    as_of: datetime
    since: datetime | None


def _list_all_items(call: ApiCall) -> ApiAnswer:
    """List items of all runs, your own and those of nobody, in any state: the newest runs first, by seq."""
    query: AllItemsQuery = call.query
    filters = {name: value for name, value in msgspec.to_builtins(query).items() if name not in ("limit", "cursor")}
    as_of: datetime = fetch_value(call.connection, "SELECT statement_timestamp()")
    since = query.since
    if since is None and query.run is None:
        since = (query.until or as_of) - timedelta(days=_USUAL_DAYS)
    place = read_cursor(query.cursor, filters, 2)
    wanted = ItemFilter(
        run_id=query.run,
        job=query.job,
        schedule=query.schedule,
        symbol=query.symbol,
        timeframe=query.timeframe,
        status=query.status,
        error=query.error,
        since=since,
        until=query.until,
        after=None if place is None else (place[0], place[1]),
    )
    rows = list_items(call.connection, wanted, query.limit + 1, viewer=call.caller.viewer)
    shown = [{name: row[name] for name in FoundItem.__struct_fields__} for row in rows[: query.limit]]
    following = (shown[-1]["run_id"], shown[-1]["seq"]) if len(rows) > query.limit else None
    answer = answer_page(shown, following, query.limit, filters, as_of)
    answer.body["since"] = since
    return answer


ITEM_OPERATIONS = (
    Operation(
        *("GET", "/items", "List items of all runs", _list_all_items, FoundItems),
        query=AllItemsQuery,
        object_type="run",
    ),
)
