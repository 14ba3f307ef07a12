"""Supervisors are steered over HTTP by administrators, and everybody sees what runs."""

from datetime import UTC, datetime

import msgspec

from api_stage import ApiStage
from streamworkers.api.routes import workers
from streamworkers.engine.ledger.processes import ProcessRecord, record_process

STARTED = datetime(2026, 11, 27, 15, 0, tzinfo=UTC)


def _record(api: ApiStage, name: str, **doing: object) -> None:
    record_process(api.connection, ProcessRecord(name, "supervisor", "desk", 7, "0.2.0", STARTED, doing))


def test_an_administrator_orders_and_everybody_sees_what_was_ordered(api: ApiStage) -> None:
    _record(api, "desk-7-a", mode="running", wanted=2)
    for verb, body in (("drain", {"reason": "new disk"}), ("resize", {"processes": 4}), ("resume", {}), ("stop", {})):
        answer = api.call("POST", f"/api/v1/workers/desk-7-a/{verb}", "root", json=body)
        assert answer.status_code == 202, answer.text
        (order,) = msgspec.convert(answer.json(), workers.OrderList).orders
        assert (order.action, order.ordered_by, order.reason) == (verb, "root", body.get("reason"))
    listed = msgspec.convert(api.get("/api/v1/workers/desk-7-a/orders", "eve"), workers.OrderList).orders
    assert [(order.action, order.processes, order.outcome) for order in listed] == [
        ("stop", None, None),
        ("resume", None, "replaced"),
        ("resize", 4, None),
        ("drain", None, "replaced"),
    ]
    rows = api.connection.execute(
        "SELECT action, actor_user, reason FROM audit_log WHERE object_type = 'process' AND outcome = 'ok' ORDER BY id"
    ).fetchall()
    assert [action for action, _, _ in rows] == ["worker.drain", "worker.resize", "worker.resume", "worker.stop"]
    assert rows[0][1:] == ("root", "new disk")


def test_what_cannot_be_ordered_is_rejected(api: ApiStage) -> None:
    _record(api, "desk-8-b", mode="running")
    _record(api, "old-9-c", queues=["load"])
    for path, user, body, status, detail in (
        ("desk-8-b/drain", "ann", {}, 403, "the token lacks the scope 'admin'"),
        ("desk-0-x/drain", "root", {}, 404, "no supervisor is named 'desk-0-x'"),
        ("old-9-c/drain", "root", {}, 409, "release 0.2.0 takes no orders: send SIGTERM to process 7 on desk"),
        ("desk-8-b/resize", "root", {"processes": 257}, 422, "processes"),
        ("desk-8-b/resize", "root", {}, 422, "processes"),
        ("desk-8-b/stop", "root", {"reason": "x" * 501}, 422, "reason"),
    ):
        answer = api.call("POST", f"/api/v1/workers/{path}", user, json=body)
        assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text
    assert api.get("/api/v1/workers/desk-8-b/orders") == {"orders": []}


def test_what_runs_is_listed(api: ApiStage) -> None:
    shown = msgspec.convert(api.get("/api/v1/running?job=ledger_entry&limit=5", "eve"), workers.RunningList)
    assert (shown.executes, shown.taken, shown.orphaned, shown.items) == (0, 0, 0, [])
