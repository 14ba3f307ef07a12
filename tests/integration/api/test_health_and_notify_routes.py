"""Health with the fields of the replaced systems, and notifications."""

from datetime import UTC, datetime

import msgspec
import pytest

from api_stage import ApiStage
from streamworkers.api import diagnosing
from streamworkers.api.routes import health, notify
from streamworkers.engine.ledger.processes import ProcessRecord, forget_process, record_process


def test_health_and_counts_are_of_one_snapshot(api: ApiStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosing, "_REUSED_SECONDS", 3600.0)
    found = msgspec.convert(api.get("/health", "eve"), health.HealthView)
    assert found.status in ("ok", "degraded", "critical")
    assert {"redis", "postgresql", "workers", "queues", "executions"} <= set(found.components)
    assert found.components["redis"].status == "ok"
    stats = msgspec.convert(api.get("/stats", "eve"), health.StatsView)
    assert stats.timestamp == found.timestamp
    assert stats.error_stats["items_failed"] == found.metrics["items_failed"]
    assert set(stats.job_counts) == {"total", "enabled", "paused"}
    assert api.get("/api/v1/health")["timestamp"] == api.get("/health")["timestamp"]


def test_a_component_is_shown_alone_and_those_that_are_not_well_together(api: ApiStage) -> None:
    systems = msgspec.convert(api.get("/api/v1/health/systems"), health.SystemList).systems
    assert [each.name for each in systems if each.name == "redis"] == ["redis"]
    assert api.get("/api/v1/health/system/redis")["status"] == "ok"
    wrong = api.get("/api/v1/health/unhealthy")["systems"]
    assert {each["name"] for each in wrong} == {each.name for each in systems if each.status != "ok"}
    answer = api.call("GET", "/api/v1/health/system/moon")
    assert (answer.status_code, answer.json()["error"]) == (404, "no component or process is named 'moon'")
    assert api.call("GET", "/health", None).status_code == 401


def test_a_process_is_shown_with_what_became_of_it(api: ApiStage) -> None:
    def beat(trouble: str | None) -> None:
        process = ProcessRecord("desk-7-abc", "scheduler", "desk", 7, "1", datetime.now(UTC), {}, trouble=trouble)
        record_process(api.connection, process)

    def show() -> tuple[str, list[str]]:
        shown = msgspec.convert(api.get("/api/v1/health/system/desk-7-abc"), health.SystemView)
        return shown.status, [change.status for change in shown.history]

    beat(None)
    assert show() == ("ok", ["ok"])
    beat("Redis is away")
    assert show() == ("degraded", ["degraded", "ok"])
    api.connection.execute("UPDATE processes SET seen_at = seen_at - interval '1 minute' WHERE id = 'desk-7-abc'")
    assert show() == ("critical", ["degraded", "ok"])  # whether anybody has noticed it yet or not
    assert "desk-7-abc" in [each["name"] for each in api.get("/api/v1/health/unhealthy")["systems"]]
    forget_process(api.connection, "desk-7-abc")
    assert show() == ("ended", ["ended", "degraded", "ok"])
    assert "desk-7-abc" not in [each["name"] for each in api.get("/api/v1/health/systems")["systems"]]


def test_the_history_of_a_component_has_its_changes_alone(api: ApiStage) -> None:
    for minute, status in enumerate(("ok", "ok", "degraded", "degraded", "ok")):
        api.connection.execute(
            "INSERT INTO health_checks (checked_at, component, status, message) VALUES (%s, 'redis', %s, %s)",
            (datetime(2026, 1, 5, 12, minute, tzinfo=UTC), status, str(minute)),
        )
    history = msgspec.convert(api.get("/api/v1/health/system/redis"), health.SystemView).history
    assert [(change.status, change.message) for change in history] == [("ok", "4"), ("degraded", "2"), ("ok", "0")]


def test_a_user_is_notified_once_for_a_key(api: ApiStage) -> None:
    body = {"text": "it is there", "title": "Report", "key": "report:1"}
    answer = api.call("POST", "/api/notify", json=body)
    assert answer.status_code == 202
    accepted = msgspec.convert(answer.json(), notify.Accepted)
    assert (accepted.user, accepted.key, accepted.outcome) == ("ann", "report:1", "accepted")
    (payload,) = api.connection.execute(
        "SELECT payload FROM outbox WHERE payload ->> 'dedup_key' = 'report:1'"
    ).fetchone() or (None,)
    assert payload["data"] == {"title": "Report", "text": "it is there"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"text": "x", "user": "bob"}, 403, "only an admin notifies another user"),
        ({"title": "x"}, 422, "field `text` is missing"),
        ({"text": "x", "priority": "loud"}, 422, "field `priority`: 'loud' is not one of high, low, normal, urgent"),
        ({"text": "x", "type": "No Such Type"}, 422, "type 'No Such Type'"),
        ({"text": "x", "channels": ["mial"]}, 422, "no channel is named 'mial'; did you mean 'mail'?"),
    ],
)
def test_a_notification_that_breaks_a_rule_is_rejected(api: ApiStage, body: object, status: int, message: str) -> None:
    answer = api.call("POST", "/api/v1/notify", json=body)
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text


def test_an_admin_notifies_others_who_exist(api: ApiStage) -> None:
    assert api.call("POST", "/api/v1/notify", "root", json={"text": "x", "user": "bob"}).status_code == 202
    answer = api.call("POST", "/api/v1/notify", "root", json={"text": "x", "user": "nobody"})
    assert (answer.status_code, "no user is named 'nobody'" in answer.json()["detail"]) == (422, True)
