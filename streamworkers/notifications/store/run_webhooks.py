"""The call of a run's webhook, sent again because a person says so."""

from uuid import UUID

from streamworkers.actor import LOCAL, Actor
from streamworkers.audit.record import AuditChange, record_change
from streamworkers.database import Connection, fetch_row, fetch_rows
from streamworkers.errors import BadInputError
from streamworkers.notifications.store.endpoints import find_by_id, record_endpoint
from streamworkers.users import RUN_WEBHOOKS

_RUN = "SELECT webhook FROM runs WHERE id = %s"
# A run that was opened again and has ended again has several calls; the newest one is about how it stands.
_NEWEST = """
    SELECT id, state, parts IS NOT NULL AS has_text FROM deliveries
    WHERE ended_run_id = %s ORDER BY created_at DESC LIMIT 1 FOR UPDATE
"""
_ENDPOINT = """
    SELECT id, off_at, off_by_provider, off_reason, name FROM endpoints
    WHERE user_id = %s AND channel = 'webhook' AND address = (SELECT webhook_address(webhook) FROM runs WHERE id = %s)
    FOR UPDATE
"""
_SWITCH_ON = "UPDATE endpoints SET off_at = NULL, off_reason = NULL, off_by_provider = false WHERE id = %s"
_REOPEN = """
    UPDATE deliveries SET state = 'queued', reason = NULL, attempts = 0, run_id = NULL, run_day = NULL,
        not_before = clock_timestamp(), due_at = clock_timestamp(), endpoint_id = %s
    WHERE id = %s
"""


def reopen_webhook_call(connection: Connection, run_id: int, actor: Actor = LOCAL) -> UUID:
    """Let the newest call of a run's webhook be sent again, with all its attempts; returns its `webhook-id`, as before.

    It is dead, held or suppressed. A receiver that has rejected all calls gets them again. Raises BadInputError for a
    call that is none of these, or whose text is not kept any more.
    """
    with connection.transaction():
        run = fetch_row(connection, _RUN, (run_id,))
        if run is None or run["webhook"] is None:
            raise BadInputError(f"run {run_id} has no webhook")
        endpoint = _keep_endpoint(connection, run_id, actor)  # locked first, as by who switches it off
        call = _lock_call(connection, run_id)
        connection.execute(_REOPEN, (endpoint, call))
        change = AuditChange("run.webhook_retry", "run", str(run_id), after={"webhook_id": str(call)})
        record_change(connection, actor, change)
    return call


def _lock_call(connection: Connection, run_id: int) -> UUID:
    call = fetch_row(connection, _NEWEST, (run_id,))
    if call is None:
        raise BadInputError(f"the webhook of run {run_id} has no call: it has not ended, or the record is removed")
    if call["state"] not in ("dead", "ambiguous", "suppressed"):
        state = call["state"]
        raise BadInputError(f"the call of run {run_id} is {state}, and only a dead, held or suppressed one is retried")
    if not call["has_text"]:
        raise BadInputError(f"what the call of run {run_id} says is not kept any more")
    found: UUID = call["id"]
    return found


def _keep_endpoint(connection: Connection, run_id: int, actor: Actor) -> int:
    """Return the endpoint of a run's webhook; one that its receiver has ended is on again, one of a person is not."""
    connection.execute("SELECT keep_webhook_endpoint(webhook) FROM runs WHERE id = %s", (run_id,))
    (row,) = fetch_rows(connection, _ENDPOINT, (RUN_WEBHOOKS, run_id))
    number: int = row["id"]
    if row["off_at"] is None:
        return number
    if not row["off_by_provider"]:
        on = f"`streamworkers endpoints on {row['name']} --user=-run-webhooks`"
        raise BadInputError(f"the receiver of run {run_id} is off ({row['off_reason']}): {on}")
    connection.execute(_SWITCH_ON, (number,))
    endpoint = find_by_id(connection, number)
    assert endpoint is not None
    record_endpoint(connection, actor, "on", endpoint)
    return number
