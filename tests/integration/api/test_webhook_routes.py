"""Webhooks over HTTP: of schedules, how the call of a run stands, and calling it again."""

import secrets
from typing import Any

import msgspec
import pytest

from api_stage import ApiStage
from streamworkers.api.routes import schedule_types, types
from streamworkers.database import fetch_value

_HOOK = {"url": "https://x.example/s3cr3t?a=1", "secrets": ["env:WEBHOOK_KEY"]}
_SHOWN = {**_HOOK, "url": "https://x.example/…"}
_FIELDS = {"job": "ledger_entry", "target": {"symbols": ["A"]}, "cron": "0 3 * * *"}


def _stored(api: ApiStage, name: str) -> Any:
    return fetch_value(api.connection, "SELECT webhook FROM schedules WHERE name = %s", (name,))


def _change(api: ApiStage, method: str, name: str, body: dict[str, Any]) -> Any:
    return api.call(method, f"/api/v1/schedules/{name}", json=body, headers={"If-Match": "*"})


def test_a_schedule_has_a_webhook_whose_url_is_not_shown(api: ApiStage) -> None:
    body = {"name": "hooked", **_FIELDS, "webhook": _HOOK}
    made = api.call("POST", "/api/v1/schedules", json=body)
    assert (made.status_code, made.json()["webhook"]) == (201, _SHOWN)
    msgspec.convert(made.json(), schedule_types.ScheduleView)
    assert "s3cr3t" not in str(api.get("/api/v1/schedules"))
    assert _stored(api, "hooked") == _HOOK
    # As it is shown, it stays as it is stored.
    for method, fields in (("PUT", {**body, "webhook": _SHOWN}), ("PATCH", {"webhook": _SHOWN, "jitter_seconds": 1})):
        assert _change(api, method, "hooked", fields).status_code == 200
        assert _stored(api, "hooked") == _HOOK
    by_reference = {"url": "env:WEBHOOK_URL", "secrets": ["env:WEBHOOK_KEY"]}
    assert _change(api, "PATCH", "hooked", {"webhook": by_reference}).json()["webhook"] == by_reference
    assert _change(api, "PATCH", "hooked", {"webhook": None}).json()["webhook"] is None


@pytest.mark.parametrize(
    ("webhook", "message"),
    [
        (_SHOWN, "schedule 'wrong': the url of the webhook is not a URL as https://example.com/hooks"),
        ({**_HOOK, "secrets": ["plain"]}, "schedule 'wrong': a secret of the webhook is not named"),
        ({"url": "https://x.example"}, "field `webhook.secrets` is missing"),
    ],
)
def test_a_webhook_that_breaks_a_rule_is_rejected(api: ApiStage, webhook: Any, message: str) -> None:
    answer = api.call("POST", "/api/v1/schedules", json={"name": "wrong", **_FIELDS, "webhook": webhook})
    assert (answer.status_code, message in answer.json()["detail"]) == (422, True), answer.text


def test_only_an_admin_names_a_variable_that_is_not_meant_for_webhooks(api: ApiStage) -> None:
    rule = "only an admin names a variable without the prefix WEBHOOK_"
    for foreign in ({**_HOOK, "secrets": ["env:WEBHOOK_KEY", "env:AWS_KEY"]}, {**_HOOK, "url": "env:AWS_KEY"}):
        run = {"job": "ledger_entry", "symbols": ["A"], "key": secrets.token_hex(8), "webhook": foreign}
        schedule = {"name": "foreign", **_FIELDS, "webhook": foreign}
        for path, body in (("runs", run), ("schedules", schedule)):
            answer = api.call("POST", f"/api/v1/{path}", json=body)
            assert (answer.status_code, answer.json()["detail"]) == (403, f"{rule}: env:AWS_KEY")
        assert api.call("POST", "/api/v1/runs", "root", json=run).status_code == 202
    made = api.call("POST", "/api/v1/schedules", "root", json={**schedule, "user_id": "ann"})
    assert made.status_code == 201, made.text
    # What an admin has named stays when another field is changed, and goes with no other receiver.
    assert _change(api, "PATCH", "foreign", {"jitter_seconds": 1}).status_code == 200
    elsewhere = {"url": "https://elsewhere.example/", "secrets": foreign["secrets"]}
    assert _change(api, "PATCH", "foreign", {"webhook": {**foreign, **elsewhere}}).status_code == 200
    assert _change(api, "PATCH", "foreign", {"webhook": {**elsewhere, "secrets": ["env:AWS_KEY"]}}).status_code == 403


def test_a_run_shows_how_its_call_stands_and_an_admin_sends_a_dead_one_again(api: ApiStage) -> None:
    run = api.submit(webhook=_HOOK)
    path = f"/api/v1/runs/{run}"
    retry = f"{path}/webhook/retry"
    nothing = dict.fromkeys(("reason", "id", "sent_at"))
    assert api.get(path)["webhook"] == {"url": _SHOWN["url"], "state": "waiting", "attempts": 0, **nothing}
    early = api.call("POST", retry, "root")
    assert (early.status_code, "has no call: it has not ended" in early.json()["detail"]) == (409, True)
    api.call("DELETE", path)
    shown = msgspec.convert(api.get(path), types.RunView).webhook
    assert shown is not None
    assert (shown.state, shown.attempts) == ("queued", 0)
    busy = api.call("POST", retry, "root").json()["detail"]
    assert busy == f"the call of run {run} is queued, and only a dead, held or suppressed one is retried"
    dead = "UPDATE deliveries SET state = 'dead', attempts = 7, reason = 'the receiver answered 500' WHERE id = %s"
    api.connection.execute(dead, (shown.id,))
    (listed,) = [each for each in api.get("/api/v1/runs")["items"] if each["id"] == run]
    assert (listed["webhook"]["state"], listed["webhook"]["reason"]) == ("dead", "the receiver answered 500")
    assert "s3cr3t" not in str(listed)
    assert api.call("POST", retry, "ann").status_code == 403
    done = api.call("POST", retry, "root")
    assert (done.status_code, done.json()) == (202, {"id": run, "webhook_id": str(shown.id)})
    again = api.get(path)["webhook"]
    assert (again["state"], again["attempts"], again["reason"], again["id"]) == ("queued", 0, None, str(shown.id))
    rows = api.connection.execute(
        "SELECT actor_user, outcome FROM audit_log WHERE action = 'run.webhook_retry' ORDER BY id"
    ).fetchall()
    assert rows[-1] == ("root", "ok")


def test_a_run_without_a_webhook_has_none_to_call_again(api: ApiStage) -> None:
    run = api.submit()
    assert api.get(f"/api/v1/runs/{run}")["webhook"] is None
    answer = api.call("POST", f"/api/v1/runs/{run}/webhook/retry", "root")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"run {run} has no webhook")
    assert api.call("POST", "/api/v1/runs/123456/webhook/retry", "root").status_code == 404
