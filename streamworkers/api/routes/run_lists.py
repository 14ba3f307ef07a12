"""The list of runs: the newest first, or a walk over all of them that misses none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec

from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import InvalidInput
from streamworkers.api.reading import make_cursor, read_cursor
from streamworkers.api.routes.types import RunPage
from streamworkers.database import fetch_value
from streamworkers.engine.ledger.run_export import WalkPlace, walk_runs
from streamworkers.engine.ledger.run_pages import RunFilter, list_visible_runs

Status = Literal["PENDING", "RUNNING", "COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class RunsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which runs; every parameter that is given must match. Without a cursor, a page can begin `before` a run.

    `order` is `desc`, the newest first, or `asc`: a walk over all runs that are there when it begins.
    """

    job: str | None = None
    status: Status | None = None
    user: str | None = None
    schedule: str | None = None
    since: Moment | None = None
    order: Literal["desc", "asc"] = "desc"
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    cursor: str | None = None
    before: Annotated[int, msgspec.Meta(ge=1)] | None = None


def _list_runs(call: ApiCall) -> ApiAnswer:
    """List runs, your own and those of nobody: the newest first, or with `order=asc` all that are there now."""
    query: RunsQuery = call.query
    places = ("limit", "cursor", "before")
    filters = {name: value for name, value in msgspec.to_builtins(query).items() if name not in places}
    wanted = RunFilter(query.job, query.status, query.user, query.schedule, query.since)
    if query.order == "asc":
        return _walk_runs(call, wanted, filters)
    as_of = fetch_value(call.connection, "SELECT statement_timestamp()")
    (before,) = read_cursor(query.cursor, filters) or (query.before,)
    rows = list_visible_runs(call.connection, call.caller.viewer, replace(wanted, before_id=before), query.limit + 1)
    following = (rows[query.limit - 1]["id"],) if len(rows) > query.limit else None
    return answer_page(rows[: query.limit], following, query.limit, filters, as_of)


def _walk_runs(call: ApiCall, wanted: RunFilter, filters: dict[str, Any]) -> ApiAnswer:
    query: RunsQuery = call.query
    if query.before is not None:
        raise InvalidInput("`before` names where a page of the newest runs begins: it cannot stand beside order=asc")
    given = read_cursor(query.cursor, filters, 4)
    place = None if given is None else WalkPlace.from_numbers(given)
    walk = walk_runs(call.connection, call.caller.viewer, wanted, place, query.limit)
    following = None if walk.place is None else walk.place.to_numbers()
    answer = answer_page(walk.rows, following, query.limit, filters, walk.began_at)
    if walk.is_held_up:
        answer.headers["Retry-After"] = "1"
    return answer


def answer_page(
    rows: list[dict[str, Any]],
    following: Sequence[int] | None,
    limit: int,
    filters: dict[str, Any],
    as_of: datetime,
) -> ApiAnswer:
    """Return a page with the cursor of the one that follows, if one does, also in the header `Link`."""
    headers, cursor = {}, None
    if following is not None:
        cursor = make_cursor(following, filters)
        given = {name: value for name, value in filters.items() if value is not None}
        headers["Link"] = f'<?{urlencode(given | {"cursor": cursor, "limit": limit})}>; rel="next"'
    return ApiAnswer({"items": rows, "next": cursor, "as_of": as_of}, headers=headers)


RUN_LIST_OPERATIONS = (Operation("GET", "/runs", "List runs", _list_runs, RunPage, query=RunsQuery, object_type="run"),)
