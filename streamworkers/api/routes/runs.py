"""Routes about runs: start, list, look into, cancel, replay."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from streamworkers.admin import runs as admin
from streamworkers.api.call import ApiAnswer, ApiCall
from streamworkers.api.idempotency import read_key
from streamworkers.api.operation import Operation
from streamworkers.api.problem import Conflict, InvalidInput, NotFound, Problem
from streamworkers.api.routes.finding import find_run, load_found_run
from streamworkers.api.routes.types import (
    ItemPage,
    ItemView,
    JobList,
    LedgerView,
    Reopened,
    RetriedWebhook,
    RunView,
    StartedRun,
    StartedRuns,
    WebhookBody,
)
from streamworkers.api.routes.webhook_variables import require_usable_variables
from streamworkers.engine import ledger
from streamworkers.engine.enqueue import submit_described
from streamworkers.engine.ledger import SubmittedRun, reports
from streamworkers.engine.ledger.run_pages import find_visible_run, list_run_items
from streamworkers.engine.redis.lanes import Priority
from streamworkers.errors import BadInputError
from streamworkers.notifications.store.run_webhooks import reopen_webhook_call
from streamworkers.schema_errors import word_schema_error

ItemStatus = Literal["pending", "retrying", "completed", "failed", "cancelled"]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
_MOST_ERRORS = 100


class RunRequestBody(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a run is to do. It is about `symbols` or a `universe`, or, of a job without symbols, about its `items`.

    It starts at once, or not before `start_at` and not before the runs `after` have ended as `after_when` says.
    """

    job: str
    parameters: dict[str, Any] | None = None
    universe: str | None = None
    symbols: list[str] | None = None
    items: list[str] | None = None
    timeframe: str | None = None
    timeframes: list[str] | None = None
    as_of: str | None = None
    max_attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    priority: Priority | None = None
    key: str | None = None
    traceparent: str | None = None
    start_at: str | None = None
    after: int | list[int] | None = None
    after_when: Literal["completed", "ended"] | None = None
    webhook: WebhookBody | None = None


class RunBatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """What several runs are to do; they are started all, or none."""

    runs: list[RunRequestBody]


class ItemsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which items of a run; `after` is the seq behind which the page begins."""

    status: ItemStatus | None = None
    symbol: str | None = None
    after: int = -1
    limit: Limit = 100


class ResultQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The item whose result is wanted, by its symbol, part or id, and in which timeframe."""

    symbol: str
    timeframe: str | None = None


def _start_run(call: ApiCall) -> ApiAnswer:
    """Submit a run: one row, which a preparer gives its items. Needs neither Redis nor the job's code."""
    body: RunRequestBody = call.body
    if body.key is None and read_key(call.headers.get("idempotency-key")) is None:
        raise Problem(400, "key-required", "a run is started once: give `key`, or the header Idempotency-Key")
    (run,) = _submit(call, [body])
    return ApiAnswer(run._asdict(), 202, {"Location": f"/api/v1/runs/{run.id}"})


def _start_runs(call: ApiCall) -> ApiAnswer:
    """Submit up to 10,000 runs, all or none, in the order of the requests. Needs the header Idempotency-Key."""
    body: RunBatchBody = call.body
    if read_key(call.headers.get("idempotency-key")) is None:
        raise Problem(400, "key-required", "runs are started once: give the header Idempotency-Key")
    return ApiAnswer({"runs": [run._asdict() for run in _submit(call, body.runs)]}, 202)


def _submit(call: ApiCall, bodies: Sequence[RunRequestBody]) -> list[SubmittedRun]:
    """Submit runs, with a row in the audit log for each."""
    for job, parameters in {(body.job, msgspec.json.encode(body.parameters or {})) for body in bodies}:
        require_parameters_fit(call, job, msgspec.json.decode(parameters))
    requests = [
        {name: value for name, value in msgspec.to_builtins(body).items() if value is not None} for body in bodies
    ]
    for request in requests:
        require_usable_variables(call, request.get("webhook"))
    if trace := call.headers.get("traceparent"):
        for request in requests:
            request.setdefault("traceparent", trace)
    _require_visible(call, {run for request in requests for run in _list_awaited(request.get("after"))})
    runs = submit_described(call.connection, [{**request, "user": call.caller.user} for request in requests])
    for run, body in zip(runs, bodies, strict=True):
        admin.record_submission(call.connection, call.caller.actor, run.id, body.job, is_new=run.is_new)
    return runs


def _list_awaited(after: int | list[int] | None) -> list[int]:
    return [] if after is None else [after] if isinstance(after, int) else after


def _require_visible(call: ApiCall, runs: Iterable[int]) -> None:
    """Raise InvalidInput for a run to come after that the caller may not see, as if it did not exist."""
    for run in sorted(runs):
        if not 0 < run < 2**63 or find_visible_run(call.connection, call.caller.viewer, number=run, uuid=None) is None:
            raise InvalidInput(f"there is no run {run} to come after")


def require_parameters_fit(call: ApiCall, job: str, parameters: dict[str, Any]) -> None:
    """Check parameters by the JSON Schemas of the job; one of them has to be met. Raises InvalidInput."""
    problem = None
    for known in ledger.read_job_types(call.connection, job):
        error = best_match(Draft202012Validator(known.params_schema).iter_errors(parameters))
        if error is None:
            return
        problem = problem or word_schema_error(error, job)
    if problem is not None:
        raise InvalidInput(problem)


def _show_run(call: ApiCall) -> ApiAnswer:
    """Show a run, by its number or its UUID."""
    return ApiAnswer(find_run(call))


def _list_items(call: ApiCall) -> ApiAnswer:
    """List the items of a run, by seq."""
    query: ItemsQuery = call.query
    run = load_found_run(call, find_run(call))
    rows = list_run_items(call.connection, run, query.after, query.limit + 1, status=query.status, symbol=query.symbol)
    shown = rows[: query.limit]
    return ApiAnswer({"items": shown, "next": shown[-1]["seq"] if len(rows) > query.limit else None})


def _show_result(call: ApiCall) -> ApiAnswer:
    """Show the item of a symbol, a part or an id, with its result."""
    query: ResultQuery = call.query
    run = load_found_run(call, find_run(call))
    rows = list_run_items(call.connection, run, -1, 100, symbol=query.symbol)
    found = [row for row in rows if query.timeframe in (None, row["timeframe"])]
    if not found:
        raise NotFound("item of this run", query.symbol)
    if len(found) > 1:
        names = ", ".join(str(row["timeframe"]) for row in found)
        raise InvalidInput(f"run {run.id} has {query.symbol!r} in several timeframes: {names}; name one")
    return ApiAnswer(found[0])


def _show_ledger(call: ApiCall) -> ApiAnswer:
    """Show the ledger of a run: its items by state, and its distinct errors."""
    row = find_run(call)
    run = load_found_run(call, row)
    names = ("error", "items", "item", "symbol", "status", "attempt")
    errors = reports.list_errors(call.connection, run, _MOST_ERRORS)
    shown = [{name: each[name] for name in names} for each in errors]
    return ApiAnswer({"run": row, "items": ledger.count_items(call.connection, run), "errors": shown})


def _cancel_run(call: ApiCall) -> ApiAnswer:
    """Cancel a run: no further items start, and items being executed are not saved. 409 if it has ended."""
    row = find_run(call)
    call.caller.require_own(row["user"])
    try:
        run, count = admin.cancel_in_ledger(call.connection, row["id"], call.caller.actor)
    except BadInputError as error:
        raise Conflict(str(error)) from None
    streams = call.service.streams
    call.after_commit.append(lambda _: admin.forget_open_items(streams, run))
    return ApiAnswer({"id": run.id, "items": count})


def _retry_webhook(call: ApiCall) -> ApiAnswer:
    """Send the call of a run's webhook again, with the same webhook-id. 409 unless it is dead, held or suppressed."""
    run_id = find_run(call)["id"]
    try:
        webhook_id = reopen_webhook_call(call.connection, run_id, call.caller.actor)
    except BadInputError as error:
        raise Conflict(str(error)) from None
    return ApiAnswer({"id": run_id, "webhook_id": webhook_id}, 202)


def _list_jobs(call: ApiCall) -> ApiAnswer:
    """List the jobs that processes of the pool have, with the JSON Schema of their parameters."""
    found: dict[str, dict[str, Any]] = {}
    for known in ledger.read_job_types(call.connection):
        shown = {"queue": known.queue, "max_attempts": known.max_attempts, "item_kind": known.item_kind}
        found.setdefault(known.name, {"name": known.name, **shown, "parameters": known.params_schema})
    return ApiAnswer({"jobs": list(found.values())})


RUN_OPERATIONS = (
    Operation(
        "POST",
        "/runs",
        "Start a run",
        _start_run,
        StartedRun,
        scope="run",
        body=RunRequestBody,
        status=202,
        action="run.submit",
        object_type="run",
        problems=(400, 409, 422),
        example={"job": "analysis", "universe": "sp500", "key": "eod:2026-11-26"},
    ),
    Operation(
        "POST",
        "/runs/batch",
        "Start several runs",
        _start_runs,
        StartedRuns,
        scope="run",
        body=RunBatchBody,
        status=202,
        action="run.submit",
        object_type="run",
        problems=(400, 409, 422),
        example={"runs": [{"job": "analysis", "universe": "sp500"}, {"job": "analysis", "universe": "nasdaq100"}]},
    ),
    Operation("GET", "/runs/{run}", "Show a run", _show_run, RunView, object_type="run", problems=(404,)),
    Operation(
        *("GET", "/runs/{run}/items", "List the items of a run", _list_items, ItemPage),
        query=ItemsQuery,
        object_type="run",
        problems=(404,),
    ),
    Operation(
        *("GET", "/runs/{run}/result", "Show the result of an item", _show_result, ItemView),
        query=ResultQuery,
        object_type="run",
        problems=(404,),
    ),
    Operation(
        *("GET", "/runs/{run}/ledger", "Show the ledger of a run", _show_ledger, LedgerView),
        object_type="run",
        problems=(404,),
    ),
    Operation(
        *("DELETE", "/runs/{run}", "Cancel a run", _cancel_run, Reopened),
        scope="run",
        action="run.cancel",
        object_type="run",
        problems=(404, 409),
    ),
    Operation(
        *("POST", "/runs/{run}/webhook/retry", "Call the webhook of a run again", _retry_webhook, RetriedWebhook),
        scope="admin",
        status=202,
        action="run.webhook_retry",
        object_type="run",
        problems=(404, 409),
    ),
    Operation("GET", "/jobs", "List jobs", _list_jobs, JobList, object_type="job"),
)
