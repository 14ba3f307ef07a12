"""Routes about closed items: run them again, or cancel dead ones for good."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec

from streamworkers.admin import runs as admin
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict
from streamworkers.api.routes.finding import find_run, load_found_run
from streamworkers.api.routes.types import Reopened
from streamworkers.engine.ledger.reports import DeadFilter, list_dead_items
from streamworkers.errors import BadInputError

_MOST_DEAD = 1_000_000
Seq = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class ItemsBody(msgspec.Struct, forbid_unknown_fields=True):
    """The items, by seq; without any, all that may be."""

    items: list[Seq] | None = None


class DeadQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead items; every parameter that is given must match. `error_like` is a part of the error."""

    run: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)] | None = None
    job: str | None = None
    symbol: str | None = None
    error_like: str | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100


class DeadList(msgspec.Struct):
    """Dead items of all runs, the newest runs first."""

    items: list[dict[str, Any]]


def _replay_run(call: ApiCall) -> ApiAnswer:
    """Run the dead items of a run again, from attempt 1; the reconciler adds their entries. 409 if there are none."""
    return _reopen(call, ("failed",))


def _retry_run(call: ApiCall) -> ApiAnswer:
    """Run the dead and the cancelled items of a run again, from attempt 1. 409 if there are none."""
    return _reopen(call, ("failed", "cancelled"))


def _purge_run(call: ApiCall) -> ApiAnswer:
    """Cancel the dead items of a run for good; their errors are kept. 409 if there are none."""
    row = find_run(call)
    call.caller.require_own(row["user"])
    seqs = call.body.items
    if seqs is None:
        seqs = [each["seq"] for each in list_dead_items(call.connection, DeadFilter(row["id"]), _MOST_DEAD)]
    count = admin.purge(call.connection, [(row["id"], seq) for seq in seqs], call.caller.actor)
    if not count:
        raise Conflict(f"run {row['id']} has none of these items that is dead")
    return ApiAnswer({"id": row["id"], "items": count})


def _list_dead(call: ApiCall) -> ApiAnswer:
    """List dead items of all runs and users, the newest runs first."""
    query: DeadQuery = call.query
    wanted = DeadFilter(query.run, query.job, query.symbol, query.error_like, query.since)
    return ApiAnswer({"items": list_dead_items(call.connection, wanted, query.limit)})


def _reopen(call: ApiCall, states: Sequence[str]) -> ApiAnswer:
    row = find_run(call)
    call.caller.require_own(row["user"])
    run = load_found_run(call, row)
    try:
        run, reopened = admin.reopen_in_ledger(
            call.connection, run, call.caller.actor, states=states, seqs=call.body.items
        )
    except BadInputError as error:
        raise Conflict(str(error)) from None
    return ApiAnswer({"id": run.id, "items": len(reopened)}, 202)


def _change(verb: str, summary: str, handler: Any, status: int) -> Operation:
    return Operation(
        *("POST", f"/runs/{{run}}/{verb}", summary, handler, Reopened),
        scope="run",
        body=ItemsBody,
        status=status,
        action=f"run.{verb}",
        object_type="run",
        problems=(400, 404, 409),
        example={"items": [0, 4]},
    )


CLOSED_ITEM_OPERATIONS = (
    _change("replay", "Run dead items again", _replay_run, 202),
    _change("retry", "Run dead and cancelled items again", _retry_run, 202),
    _change("purge", "Cancel dead items for good", _purge_run, 200),
    Operation(
        *("GET", "/dead", "List dead items", _list_dead, DeadList),
        scope="admin",
        query=DeadQuery,
        object_type="run",
    ),
)
