"""Tokens, users, the audit log and settings over HTTP: for administrators, and without secrets."""

from typing import Any

import msgspec
import pytest

from api_stage import ApiStage
from streamworkers.api.routes import admin, tokens
from streamworkers.audit import seals
from streamworkers.audit.seals import seal_ended
from streamworkers.config import Settings


def _create(api: ApiStage, key: str | None = None, **fields: Any) -> Any:
    body = {"name": "desk", "user": "carl", "scopes": ["read"], **fields}
    headers = {} if key is None else {"Idempotency-Key": key}
    return api.call("POST", "/api/v1/tokens", "root", json=body, headers=headers)


def test_a_token_is_made_shown_once_rotated_and_revoked(api: ApiStage) -> None:
    made = _create(api, "token", days=30)
    shown = msgspec.convert(made.json(), tokens.CreatedToken)
    assert (made.status_code, shown.user, shown.scopes, shown.state) == (201, "carl", ["read"], "good")
    assert isinstance(shown.text, str)
    assert api.call("GET", "/api/v1/runs", shown.text).status_code == 200
    again = _create(api, "token", days=30)
    assert (again.headers["idempotency-replayed"], "text" in again.json()) == ("true", False)
    assert again.json()["id"] == shown.id
    row = api.connection.execute("SELECT body FROM api_idempotency WHERE key = 'token'").fetchone()
    assert row is not None
    assert shown.text.encode() not in bytes(row[0])
    rotated = api.call("POST", f"/api/v1/tokens/{shown.id}/rotate", "root", json={"grace_minutes": 0}).json()
    following = msgspec.convert(rotated, tokens.CreatedToken)
    assert (following.rotated_from, following.name) == (shown.id, "desk")
    assert api.call("GET", "/api/v1/runs", shown.text).status_code == 401
    successor = str(following.text)
    assert api.call("GET", "/api/v1/runs", successor).status_code == 200
    late = api.call("POST", f"/api/v1/tokens/{shown.id}/rotate", "root")
    assert (late.status_code, "only a good one can be rotated" in late.json()["detail"]) == (409, True)
    revoked = api.call("DELETE", f"/api/v1/tokens/{following.id}", "root").json()
    assert msgspec.convert(revoked, tokens.TokenView).state == "revoked"
    assert api.call("GET", "/api/v1/runs", successor).status_code == 401
    listed = msgspec.convert(api.get("/api/v1/tokens?user=carl", "root"), tokens.TokenList).tokens
    assert [(each.id, each.state) for each in listed] == [(following.id, "revoked"), (shown.id, "revoked")]
    assert "text" not in api.get("/api/v1/tokens", "root")["tokens"][0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scopes": []}, "a token needs at least one scope of read"),
        ({"scopes": ["fly"]}, "scope 'fly' is not one of read"),
        ({"name": ""}, "token '' is not a name of 1 to 100 printable characters"),
        ({"days": 0}, "field `days`: 0 is below 1"),
    ],
)
def test_what_cannot_be_a_token_is_named(api: ApiStage, fields: dict[str, Any], message: str) -> None:
    answer = _create(api, **fields)
    assert (answer.status_code, message in answer.json()["detail"]) == (422, True), answer.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("POST", "tokens/1/rotate"),
        ("DELETE", "tokens/1"),
        ("GET", "users"),
        ("POST", "users/ann/disable"),
        ("GET", "audit"),
        ("GET", "audit/verify"),
        ("GET", "config"),
    ],
)
def test_only_an_admin_may(api: ApiStage, method: str, path: str) -> None:
    answer = api.call(method, f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["detail"]) == (403, "the token lacks the scope 'admin'")


def test_what_is_not_there_is_not_found(api: ApiStage) -> None:
    for number in ("999999", "x", "9" * 30):
        for method, path in (("DELETE", ""), ("POST", "/rotate")):
            answer = api.call(method, f"/api/v1/tokens/{number}{path}", "root")
            assert (answer.status_code, answer.json()["error"]) == (404, f"no token is named {number!r}")
    answer = api.call("POST", "/api/v1/users/nobody/disable", "root")
    assert (answer.status_code, answer.json()["error"]) == (404, "no user is named 'nobody'")


def test_users_are_added_disabled_and_enabled(api: ApiStage) -> None:
    outcomes = [api.call("POST", "/api/v1/users", "root", json={"user": "dora"}).json() for _ in range(2)]
    assert [each["outcome"] for each in outcomes] == ["added", "there already"]
    outcome = api.call("POST", "/api/v1/users/dora/disable", "root").json()
    assert msgspec.convert(outcome, admin.UserOutcome).outcome == "disabled"
    listed = msgspec.convert(api.get("/api/v1/users", "root"), admin.UserList).users
    assert [each.disabled_at is not None for each in listed if each.user == "dora"] == [True]
    assert api.call("POST", "/api/v1/users/dora/enable", "root").json()["outcome"] == "enabled"
    assert api.call("POST", "/api/v1/users/dora/enable", "root").json()["outcome"] == "enabled already"
    wrong = api.call("POST", "/api/v1/users", "root", json={"user": " "})
    assert (wrong.status_code, "printable characters" in wrong.json()["detail"]) == (422, True)


def test_the_audit_log_is_read_in_pages_and_its_newest_seals_find_a_changed_row(
    api: ApiStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        api.call("POST", "/api/v1/users", "root", json={"user": f"audited-{number}"})
        assert seal_ended(api.connection) is not None
    path = "/api/v1/audit?action=user.add&user=root&limit=2"
    first = msgspec.convert(api.get(path, "root"), admin.AuditPage)
    assert [each.object_id for each in first.items] == ["audited-2", "audited-1"]
    following = api.get(f"{path}&cursor={first.next}", "root")
    assert following["items"][0]["object_id"] == "audited-0"
    assert api.call("GET", f"/api/v1/audit?limit=2&cursor={first.next}", "root").status_code == 422
    sound = msgspec.convert(api.get("/api/v1/audit/verify?seals=2", "root"), admin.VerdictView)
    assert (sound.seals, sound.troubles) == (2, [])
    whole = api.get("/api/v1/audit/verify", "root")
    monkeypatch.setattr(seals, "MOST_VERIFIED", 1)
    assert api.get("/api/v1/audit/verify", "root")["seals"] < whole["seals"]
    api.connection.execute("UPDATE audit_log SET actor_user = 'mallory' WHERE object_id = 'audited-2'")
    broken = api.get("/api/v1/audit/verify?seals=2", "root")
    assert [trouble.endswith("rows was changed") for trouble in broken["troubles"]] == [True]


def test_settings_are_shown_without_their_secrets(api: ApiStage) -> None:
    found = msgspec.convert(api.get("/api/v1/config", "root"), admin.SettingList).settings
    assert [each.name for each in found] == sorted(Settings.model_fields)
    shown = {each.name: each for each in found}
    assert (shown["database_url"].value, shown["database_url"].is_secret) == ("set", True)
    assert (shown["smtp_password"].value, shown["smtp_password"].is_secret) == (None, True)
    assert shown["api_body_bytes"].value == 20_000
    assert shown["api_body_bytes"].variable == "STREAMWORKERS_API_BODY_BYTES"
    secrets = [value for value in (api.settings.redis_url, api.settings.database_url) if value is not None]
    text = api.call("GET", "/api/v1/config", "root").text
    assert [secret for secret in secrets if secret.get_secret_value() in text] == []
