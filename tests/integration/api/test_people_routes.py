"""What users have over HTTP: endpoints, preferences, quiet hours, and deliveries that are sent again."""

from typing import Any

import msgspec
import pytest

from api_stage import ApiStage
from streamworkers.api.routes import endpoints, notifications, preferences
from streamworkers.api.routes.schedule_types import Removed
from streamworkers.database import fetch_value
from streamworkers.notifications.store.codes import MOST_TRIES

_MAIL = {"channel": "mail", "address": "ann@example.org", "name": "work"}


def _add(api: ApiStage, user: str = "ann", path: str = "", **fields: Any) -> Any:
    return api.call("POST", f"/api/v1/endpoints{path}", user, json={**_MAIL, **fields})


def _post(api: ApiStage, path: str, user: str = "ann", **words: Any) -> Any:
    return api.call("POST", f"/api/v1/endpoints/{path}", user, **words)


def _put(api: ApiStage, path: str, user: str = "ann", **body: Any) -> Any:
    return api.call("PUT", f"/api/v1/{path}", user, json=body)


def test_an_endpoint_is_verified_by_the_code_that_came_there_and_tries_count(api: ApiStage) -> None:
    made = _add(api)
    assert made.status_code == 201
    shown = msgspec.convert(made.json(), endpoints.EndpointView)
    assert (shown.name, shown.state, shown.created_by) == ("work", "not verified", "api:ann")
    taken = _add(api)
    assert (taken.status_code, "already" in taken.json()["detail"]) == (409, True)
    assert _post(api, "work/code").json() == {"name": "work", "outcome": "code sent"}
    again = _post(api, "work/code")
    assert (again.status_code, "less than a minute ago" in again.json()["detail"]) == (409, True)
    content = fetch_value(api.connection, "SELECT content FROM deliveries WHERE user_id = 'ann'")
    code = content["lines"][0].split()[0]
    for tried in range(MOST_TRIES):
        wrong = _post(api, "work/verify", json={"code": "WRONG"}, headers={"Idempotency-Key": f"try-{tried}"})
        assert (wrong.status_code, "this is not the code" in wrong.json()["detail"]) == (422, True)
    late = _post(api, "work/verify", json={"code": code})
    assert (late.status_code, f"{MOST_TRIES} wrong codes were tried" in late.json()["detail"]) == (422, True)
    api.connection.execute("UPDATE endpoints SET code_tries = 0 WHERE user_id = 'ann'")
    assert _post(api, "work/verify", json={"code": code.lower()}).json()["outcome"] == "verified"
    assert api.get("/api/v1/endpoints/work")["state"] == "on"
    rows = api.connection.execute(
        "SELECT outcome, count(*) FROM audit_log WHERE action = 'endpoint.verify' GROUP BY outcome ORDER BY outcome"
    ).fetchall()
    assert rows == [("ok", 1), ("rejected", MOST_TRIES + 1)]


def test_endpoints_are_listed_switched_tested_and_removed_by_their_user(api: ApiStage) -> None:
    _add(api, name="second", address="second@example.org")
    off = _post(api, "second/off", json={"reason": "holidays"})
    assert msgspec.convert(off.json(), endpoints.EndpointOutcome).outcome == "off"
    listed = msgspec.convert(api.get("/api/v1/endpoints"), endpoints.EndpointList).endpoints
    assert [each.state for each in listed if each.name == "second"] == ["off: holidays"]
    assert _post(api, "second/on").json()["outcome"] == "on"
    assert _post(api, "second/test").status_code == 202
    for method, path in (("GET", "second"), ("POST", "second/on"), ("DELETE", "second")):
        answer = api.call(method, f"/api/v1/endpoints/{path}", "bob")
        assert (answer.status_code, answer.json()["error"]) == (404, "no endpoint is named 'second'")
    assert api.call("GET", "/api/v1/endpoints?user=ann", "bob").status_code == 403
    assert "second" in [each["name"] for each in api.get("/api/v1/endpoints?user=ann", "root")["endpoints"]]
    gone = api.call("DELETE", "/api/v1/endpoints/second").json()
    assert msgspec.convert(gone, Removed) == Removed("second", True)
    rows = api.connection.execute(
        "SELECT action FROM audit_log WHERE object_type = 'endpoint' AND object_id = 'second' AND outcome = 'ok'"
        " ORDER BY id"
    ).fetchall()
    assert [action for (action,) in rows] == [f"endpoint.{verb}" for verb in ("add", "off", "on", "test", "remove")]


def test_only_an_admin_names_a_secret_of_the_pool_and_adds_what_is_verified(api: ApiStage) -> None:
    hook = {"channel": "webhook", "address": "https://hooks.example.org/x", "name": "hook"}
    for settings in ({"secret": "env:STREAMWORKERS_DATABASE_URL"}, {"secret": ["env:A", "env:B"]}):
        assert _add(api, **hook, settings=settings).status_code == 403
    assert _add(api, channel="slack", address="env:HOOK", name="hook").status_code == 403
    made = _add(api, "root", "?user=ann", **hook, settings={"secret": "env:HOOK_SECRET"}).json()
    assert (made["state"], made["address"], made["created_by"]) == ("on", "https://hooks.example.org/…", "api:root")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channel": "pigeon"}, "no channel is named 'pigeon'"),
        ({"address": "nowhere"}, "'nowhere' is not an address of mail"),
        ({"settings": {"colour": 1}}, "the channel mail has no setting 'colour'"),
        ({"name": " "}, "endpoint ' ' is not a name of 1 to 100 printable characters"),
    ],
)
def test_what_cannot_be_an_endpoint_is_named(api: ApiStage, fields: dict[str, Any], message: str) -> None:
    answer = _add(api, **{"name": "wrong", **fields})
    assert (answer.status_code, message in answer.json()["detail"]) == (422, True), answer.text


def test_preferences_and_quiet_hours_are_set_and_ended(api: ApiStage) -> None:
    none: dict[str, Any] = {"preferences": [], "quiet_hours": None}
    assert api.get("/api/v1/preferences") == none
    _put(api, "preferences", mode="digest", type="alert_fired", digest_minutes=60)
    _put(api, "preferences", mode="digest", channel="mail", digest_at="18:00", zone="America/New_York")
    answer = _put(api, "quiet-hours", starts="22:00", ends="07:00", zone="America/New_York")
    found = msgspec.convert(answer.json(), preferences.PreferencesView)
    assert [(each.type, each.channel, each.digest_minutes, each.digest_at) for each in found.preferences] == [
        ("*", "mail", None, "18:00"),
        ("alert_fired", "*", 60, None),
    ]
    assert found.quiet_hours == preferences.QuietView("22:00", "07:00", "America/New_York")
    assert api.get("/api/v1/preferences", "bob") == none
    assert api.get("/api/v1/preferences?user=ann", "root")["quiet_hours"] is not None
    for path, body, message in (
        ("preferences", {"mode": "often"}, "field `mode`: 'often' is not one of digest, instant, off"),
        ("preferences", {"mode": "off", "type": "nothing"}, "no type of notification is named 'nothing'"),
        ("preferences", {"mode": "off", "channel": "pigeon"}, "no channel is named 'pigeon'"),
        ("preferences", {"mode": "off", "digest_minutes": 5}, "mode off has no time of a digest"),
        ("preferences", {"mode": "digest", "digest_at": "25:00", "zone": "UTC"}, "'25:00' is not a local time"),
        ("quiet-hours", {"starts": "22:00", "ends": "22:00", "zone": "UTC"}, "without a length they hold nothing"),
        (
            "quiet-hours",
            {"starts": "10 pm", "ends": "07:00", "zone": "UTC"},
            "field `starts`: '10 pm' is not a time of day HH:MM",
        ),
        ("quiet-hours", {"starts": "22:00", "ends": "07:00", "zone": "Mars"}, "Mars"),
    ):
        wrong = _put(api, path, **body)
        assert (wrong.status_code, message in wrong.json()["detail"]) == (422, True), wrong.text
    api.call("DELETE", "/api/v1/preferences?type=alert_fired")
    api.call("DELETE", "/api/v1/preferences?channel=mail")
    assert api.call("DELETE", "/api/v1/quiet-hours").json() == none


def test_dead_deliveries_of_a_notification_are_sent_again(api: ApiStage) -> None:
    row = api.connection.execute(
        "WITH n AS (INSERT INTO notifications (id, user_id, type, dedup_key, priority, data, created_at)"
        " VALUES (gen_random_uuid(), 'ann', 'message', 'r', 'normal', '{\"text\": \"x\"}', now()) RETURNING id),"
        " d AS (INSERT INTO deliveries (user_id, channel, type, priority, content, not_before, expires_at, state,"
        " reason) VALUES ('ann', 'mail', 'message', 'normal', '{}', now(), now() + interval '1 day', 'dead', 'gone')"
        " RETURNING id)"
        " INSERT INTO delivery_notifications (delivery_id, notification_id) SELECT d.id, n.id FROM d, n"
        " RETURNING delivery_id::text, notification_id::text"
    ).fetchone()
    assert row is not None
    delivery, number = row
    path = f"/api/v1/notifications/{number}"
    listed = msgspec.convert(api.get(f"{path}/deliveries"), notifications.DeliveryList).deliveries
    assert [(each["id"], each["state"], each["reason"]) for each in listed] == [(delivery, "dead", "gone")]
    assert api.call("POST", f"{path}/retry", "bob").status_code == 404
    again = api.call("POST", f"{path}/retry")
    assert (again.status_code, again.json()) == (202, {"deliveries": [delivery]})
    late = api.call("POST", f"{path}/retry")
    assert (late.status_code, late.json()["detail"]) == (409, f"no delivery of notification {number} is dead or held")
    assert api.call("GET", "/api/v1/rejected-events").status_code == 403
    assert api.get("/api/v1/rejected-events", "root") == {"events": []}
