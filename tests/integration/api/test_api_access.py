"""Who may use the API: tokens, scopes, users, and the row that each attempt leaves in the audit log."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest

from api_stage import ApiStage
from streamworkers.actor import LOCAL
from streamworkers.admin.tokens import create_token, list_tokens, revoke_token, rotate_token
from streamworkers.errors import BadInputError, UnknownNameError


@pytest.fixture(autouse=True)
def nobody_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong tokens of this module do not add up."""
    monkeypatch.setattr("streamworkers.api.attempts.MOST_FAILURES", 1_000_000)


def _audit(api: ApiStage, request: str) -> list[tuple[Any, ...]]:
    rows = api.connection.execute(
        "SELECT actor_user, actor_token, action, outcome, left(reason, 3) FROM audit_log WHERE request_id = %s",
        (request,),
    )
    return rows.fetchall()


def _wrong_tokens(api: ApiStage) -> dict[str, str]:
    good = api.token_for("ann", ["read"])
    expired = api.token_for("ann", ["read"], timedelta(milliseconds=1))
    revoked = create_token(api.connection, LOCAL, "x", "ann", ["read"])
    revoke_token(api.connection, LOCAL, revoked.token.id)
    rotated = create_token(api.connection, LOCAL, "x", "ann", ["read"])
    rotate_token(api.connection, LOCAL, rotated.token.id, timedelta(0))
    return {
        "nothing": "",
        "another word": "secret",
        "a digest": hashlib.sha256(good.encode()).hexdigest(),
        "cut": good[:-1],
        "longer": good + "x",
        "changed": good[:20] + ("a" if good[20] != "a" else "b") + good[21:],
        "in small letters": good.lower(),
        "expired": expired,
        "revoked": revoked.text,
        "rotated": rotated.text,
    }


def test_ten_wrong_tokens_get_one_answer_and_a_row_each(api: ApiStage) -> None:
    bodies = set()
    for what, text in _wrong_tokens(api).items():
        answer = api.call("GET", "/api/v1/runs", None, headers={"Authorization": f"Bearer {text}".strip()})
        assert answer.status_code == 401, what
        assert answer.headers["www-authenticate"] == 'Bearer realm="streamworkers"'
        bodies.add(answer.json()["detail"])
        ((_, _, action, outcome, reason),) = _audit(api, answer.headers["x-request-id"])
        assert (action, outcome, reason) == ("run.read", "rejected", "401")
    assert bodies == {"the request needs the header `Authorization: Bearer TOKEN` with a good token"}


def test_a_text_of_a_token_is_kept_nowhere(api: ApiStage, capsys: pytest.CaptureFixture[str]) -> None:
    text = api.token_for("ann", ["read"])
    assert api.call("GET", "/api/v1/runs", text).status_code == 200
    assert api.call("POST", "/api/v1/runs", text, json={"job": "noop"}).status_code == 403
    dump = "\n".join(
        str(row)
        for name in ("api_tokens", "audit_log")
        for row in api.connection.execute(f"SELECT t::text FROM {name} t")
    )
    captured = capsys.readouterr()
    for place in (dump, captured.out, captured.err):
        assert text not in place
        assert text.split("_")[2] not in place


def test_a_token_without_the_scope_is_rejected_and_that_is_recorded(api: ApiStage) -> None:
    answer = api.call("POST", "/api/v1/runs", "eve", json={"job": "noop", "symbols": ["A"], "key": "k"})
    assert (answer.status_code, answer.json()["detail"]) == (403, "the token lacks the scope 'run'")
    ((user, token, action, outcome, reason),) = _audit(api, answer.headers["x-request-id"])
    assert (user, action, outcome, reason) == ("eve", "run.submit", "rejected", "403")
    assert token is not None


def test_a_run_of_another_user_looks_as_if_it_were_not_there(api: ApiStage) -> None:
    run = api.submit("ann")
    missing = api.call("GET", "/api/v1/runs/999999", "bob").json()
    for method in ("GET", "DELETE"):
        answer = api.call(method, f"/api/v1/runs/{run}", "bob")
        assert answer.status_code == 404
        assert answer.json()["detail"].replace(str(run), "999999") == missing["detail"]
        assert len(_audit(api, answer.headers["x-request-id"])) == 1
    assert api.get(f"/api/v1/runs/{run}", "root")["user"] == "ann"
    assert run not in [each["id"] for each in api.get("/api/v1/runs", "bob")["items"]]


def test_a_run_of_nobody_is_seen_by_all_and_changed_by_an_admin(api: ApiStage) -> None:
    row = api.connection.execute(
        """SELECT id FROM submit_run('{"job": "ledger_entry", "symbols": ["A"]}')"""
    ).fetchone()
    assert row is not None
    (run,) = row
    assert api.get(f"/api/v1/runs/{run}", "bob")["user"] is None
    answer = api.call("DELETE", f"/api/v1/runs/{run}", "bob")
    assert answer.status_code == 403
    assert answer.json()["detail"] == "this belongs to no user: it is changed with the scope 'admin'"
    assert api.call("DELETE", f"/api/v1/runs/{run}", "root").status_code == 200


def test_the_use_of_a_token_is_noted(api: ApiStage) -> None:
    made = create_token(api.connection, LOCAL, "noted", "ann", ["read"])
    assert made.token.last_used_at is None
    api.get("/api/v1/jobs", made.text)
    used = next(token for token in list_tokens(api.connection, "ann") if token.id == made.token.id)
    assert used.last_used_at is not None


def test_both_tokens_are_good_in_the_grace_of_a_rotation(api: ApiStage) -> None:
    old = create_token(api.connection, LOCAL, "old", "ann", ["read"])
    new = rotate_token(api.connection, LOCAL, old.token.id, timedelta(minutes=5))
    assert (new.token.name, new.token.scopes, new.token.rotated_from) == ("old", ["read"], old.token.id)
    for text in (old.text, new.text):
        assert api.call("GET", "/api/v1/runs", text).status_code == 200
    states = {token.id: token.state for token in list_tokens(api.connection)}
    assert (states[old.token.id], states[new.token.id]) == ("ending", "good")
    with pytest.raises(BadInputError, match="is ending, and only a good one can be rotated"):
        rotate_token(api.connection, LOCAL, old.token.id)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("", "ann", ["read"], timedelta(1)), "token '' is not a name of 1 to 100 printable characters"),
        (("x", "a\nb", ["read"], timedelta(1)), r"user 'a\\nb' is not a name of 1 to 200 printable characters"),
        (("x", "ann", ["fly"], timedelta(1)), "scope 'fly' is not one of read, run"),
        (("x", "ann", [], timedelta(1)), "a token needs at least one scope of read, run"),
        (("x", "ann", ["read"], timedelta(9999)), "a life of 9999 days is not between 1 and 3660"),
    ],
)
def test_a_token_that_breaks_a_rule_is_rejected(api: ApiStage, words: Any, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        create_token(api.connection, LOCAL, *words)


def test_errors_of_rotation_and_revocation_name_the_token(api: ApiStage) -> None:
    with pytest.raises(UnknownNameError, match="no token is named '999999'"):
        revoke_token(api.connection, LOCAL, 999_999)
    with pytest.raises(BadInputError, match="a grace of 30 days, 0:00:00 is not between 0 and 7 days"):
        rotate_token(api.connection, LOCAL, 1, timedelta(days=30))
