"""Alerts over HTTP: written as commands write them, versions, owners, mutes, and trials in the pool."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from api_stage import ApiStage
from streamworkers.api.routes import alert_types, types
from streamworkers.api.routes.schedule_types import Removed
from streamworkers.engine.registry import Registry

_TEXT = "AAA > 102 day"
_PRICES = (100, 101, 99, 103, 104, 98, 97, 105)
_DAYS = (3, 4, 5, 6, 7, 10, 11, 12)  # sessions of November 2025


def _add(api: ApiStage, name: str | None, alert: Any = _TEXT, user: str = "ann", **fields: Any) -> Any:
    named = {} if name is None else {"name": name}
    return api.call("POST", "/api/v1/alerts", user, json={"alert": alert, **named, **fields})


def _put(api: ApiStage, name: str, version: str | None, alert: Any, user: str = "ann") -> Any:
    headers = {} if version is None else {"If-Match": version}
    return api.call("PUT", f"/api/v1/alerts/{name}", user, json={"alert": alert}, headers=headers)


def _post(api: ApiStage, path: str, user: str = "ann", **words: Any) -> Any:
    return api.call("POST", f"/api/v1/alerts/{path}", user, **words)


def test_an_alert_is_added_seen_replaced_and_removed(api: ApiStage) -> None:
    made = _add(api, "low", f"{_TEXT} cooldown 5m")
    shown = msgspec.convert(made.json(), alert_types.WrittenAlert)
    assert (made.status_code, made.headers["location"]) == (201, f"/api/v1/alerts/{shown.id}")
    assert (shown.name, shown.user, shown.timeframe, shown.version) == ("low", "ann", "day", 1)
    assert "are shorter than a bar of day" in shown.warnings[0]
    assert shown.message
    assert made.headers["etag"] == '"1"'
    found = msgspec.convert(api.get(f"/api/v1/alerts/{shown.id}"), alert_types.AlertView)
    assert found == msgspec.convert(api.get("/api/v1/alerts/low"), alert_types.AlertView)
    document = {**found.document, "notify": {"group": "tech"}, "max_fires": 3}
    whole = _put(api, "low", '"1"', document)
    assert (whole.status_code, whole.headers["etag"], whole.json()["version"]) == (200, '"2"', 2)
    text = _put(api, str(shown.id), '"2"', "AAA < 50 day").json()
    assert (text["document"]["notify"], text["document"]["max_fires"]) == ({"group": "tech"}, 3)
    versions = msgspec.convert(api.get("/api/v1/alerts/low/versions"), alert_types.VersionList).versions
    assert [(each.version, each.epoch) for each in versions] == [(1, 1), (2, 1), (3, 2)]
    listed = msgspec.convert(api.get("/api/v1/alerts?name=l*&symbol=AAA&group=tech"), alert_types.AlertList)
    assert [each.name for each in listed.alerts] == ["low"]
    gone = api.call("DELETE", "/api/v1/alerts/low", headers={"If-Match": '"3"'}).json()
    assert msgspec.convert(gone, Removed).removed
    assert api.get("/api/v1/alerts?name=low") == {"alerts": []}
    rows = api.connection.execute(
        "SELECT action, actor_kind, actor_user FROM audit_log WHERE object_id = 'low' AND outcome = 'ok' ORDER BY id"
    ).fetchall()
    verbs = ("create", "change", "change", "remove")
    assert rows == [(f"alert.{verb}", "api", "ann") for verb in verbs]


def test_a_key_belongs_to_the_query_too(api: ApiStage) -> None:
    body, headers = {"alert": _TEXT, "name": "keyed"}, {"Idempotency-Key": "keyed"}
    made = api.call("POST", "/api/v1/alerts?user=ann", "root", json=body, headers=headers)
    again = api.call("POST", "/api/v1/alerts?user=ann", "root", json=body, headers=headers)
    assert (made.json(), made.headers["etag"]) == (again.json(), '"1"')
    other = api.call("POST", "/api/v1/alerts?user=bob", "root", json=body, headers=headers)
    assert (other.status_code, "belongs to another request" in other.json()["detail"]) == (422, True)


def test_what_is_given_beside_counts_and_what_is_missing_is_chosen(api: ApiStage) -> None:
    made = _add(api, None, "price > 5", symbols=["BBB", "AAA", "BBB"], timeframe="1h").json()
    assert (made["name"], made["timeframe"]) == (f"alert-{made['id']}", "hour")
    assert made["document"]["tickers"] == ["BBB", "AAA"]
    assert _add(api, "plain", "AAA > 5").json()["timeframe"] == "day"
    rule = {"indicator": "rsi", "params": {"timeperiod": 14}, "operator": "<", "value": 30}
    assert _add(api, "bare", rule, symbols=["AAA"]).json()["document"]["ticker"] == "AAA"


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"alert": "AAA >"}, 422, "column "),
        ({"alert": 5}, 422, "field `alert`: 5 is not a text or an object"),
        ({"alert": {"rule": 5}}, 422, "$.rule"),
        ({"alert": "price > 3"}, 422, "an alert needs a symbol: ticker, tickers or universe"),
        ({"alert": "price > 3", "symbols": []}, 422, "the list of symbols names no symbol"),
        ({"alert": "price > 3", "symbols": ["A"], "universe": "u"}, 422, "name either symbols or a universe, not both"),
        ({"alert": _TEXT, "timeframe": "year"}, 422, "timeframe 'year' is not one of"),
        ({"alert": _TEXT, "colour": "red"}, 422, "field `colour` is not known; known: alert"),
        ({"alert": _TEXT, "name": "taken"}, 409, "user 'ann' has an alert 'taken' already"),
        ({"alert": "(" * 9_000}, 422, ""),
    ],
)
def test_what_cannot_be_an_alert_is_named(api: ApiStage, body: dict[str, Any], status: int, message: str) -> None:
    _add(api, "taken")
    answer = api.call("POST", "/api/v1/alerts", json=body)
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text


def test_of_fifty_changes_of_one_version_one_is_made(api: ApiStage) -> None:
    """None is lost and none is not found, also of those that wait for each other."""
    tag = _add(api, "contested").headers["etag"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda price: _put(api, "contested", tag, f"AAA > {price} day"), range(200, 250)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1
    assert set(statuses) <= {200, 412, 503}
    assert api.get("/api/v1/alerts/contested")["version"] == 2
    assert _put(api, "contested", None, _TEXT).status_code == 428


def test_alerts_of_another_user_are_not_there_but_for_an_admin(api: ApiStage) -> None:
    number = _add(api, "own").json()["id"]
    for name in ("own", str(number)):
        for method, path in (("GET", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/versions"), ("POST", "/test")):
            words: dict[str, Any] = {"json": {"alert": _TEXT}} if method == "PUT" else {}
            answer = api.call(method, f"/api/v1/alerts/{name}{path}", "bob", headers={"If-Match": "*"}, **words)
            assert (answer.status_code, answer.json()["error"]) == (404, f"no alert is named {name!r}")
    assert api.call("GET", "/api/v1/alerts?user=ann", "bob").status_code == 403
    assert _add(api, "of_eve", user="eve").status_code == 403
    assert len(api.get("/api/v1/alerts?user=ann", "root")["alerts"]) >= 1
    assert _post(api, "own/pause?user=ann", "root").json()["paused_at"] is not None
    assert _post(api, f"{number}/resume", "root").json()["paused_at"] is None
    row = api.connection.execute(
        "SELECT v.changed_by, l.actor_user FROM alert_versions v JOIN audit_log l ON l.action = 'alert.resume'"
        " AND l.object_id = 'own' WHERE v.alert_id = %s ORDER BY v.version DESC LIMIT 1",
        (number,),
    ).fetchone()
    assert row == ("api:root", "root")


def test_alerts_are_muted_snoozed_and_unmuted(api: ApiStage) -> None:
    _add(api, "loud", symbols=["AAA", "BBB"])
    muted = _post(api, "loud/mute", json={"for": "2h", "reason": "holidays"})
    assert msgspec.convert(muted.json(), alert_types.MutedAlert).until is not None
    snoozed = _post(api, "loud/snooze", json={"symbol": "AAA", "until": "2099-01-01T00:00:00Z"}).json()
    assert snoozed == {"name": "loud", "symbol": "AAA", "until": "2099-01-01T00:00:00Z"}
    standing = msgspec.convert(api.get("/api/v1/alerts/loud/standing"), alert_types.StandingView)
    assert [(each["symbol"], each["by"], each["reason"]) for each in standing.muted] == [
        (None, "api:ann", "holidays"),
        ("AAA", "api:ann", None),
    ]
    assert [each.symbol for each in standing.symbols] == ["AAA", "BBB"]
    assert standing.silent[0].startswith("muted by api:ann")
    for path, body, message in (
        ("snooze", {"symbol": "AAA"}, "a snooze needs an end: for or until"),
        ("snooze", {"for": "1h"}, "alert 'loud' is about 2 symbols: name one"),
        ("snooze", {"for": "1h", "symbol": "CCC"}, "no symbol of alert 'loud' is named 'CCC'"),
        ("mute", {"for": "1h", "until": "2099-01-01T00:00:00Z"}, "name either for or until, not both"),
        ("mute", {"until": "1999-01-01T00:00:00Z"}, "has passed, so nothing would be muted until then"),
        ("mute", {"for": "soon"}, "'soon' is not a time such as"),
    ):
        answer = _post(api, f"loud/{path}", json=body)
        assert (answer.status_code, message in answer.json()["detail"]) == (422, True), answer.text
    assert [_post(api, "loud/unmute").json()["was_muted"] for _ in range(2)] == [True, False]
    rows = api.connection.execute(
        "SELECT action FROM audit_log WHERE object_id = 'loud' AND outcome = 'ok' ORDER BY id"
    ).fetchall()
    verbs = ("create", "mute", "snooze", "unmute", "unmute")
    assert [action for (action,) in rows] == [f"alert.{verb}" for verb in verbs]


def test_alerts_are_checked_without_a_change(api: ApiStage) -> None:
    checked = _post(api, "validate", "eve", json={"alert": "AAA > 150 day cooldown 5m"}).json()
    found = msgspec.convert(checked, alert_types.CheckedView)
    assert (found.text, len(found.warnings or ())) == ("AAA price > 150 day cooldown 5m", 1)
    rule = _post(api, "validate", json={"alert": {"indicator": "price", "operator": ">", "value": 1}}).json()
    assert (rule["text"], "alert" in rule) == ("price > 1", False)
    wrong = _post(api, "validate", json={"alert": "rsi(14) <"})
    assert (wrong.status_code, wrong.json()["detail"].startswith("column")) == (422, True)
    assert api.get("/api/v1/alerts?name=AAA*") == {"alerts": []}


def test_alerts_are_imported_all_or_none(api: ApiStage) -> None:
    documents = [_add(api, name).json()["document"] for name in ("first", "second")]
    documents[1] = {**documents[1], "max_fires": 2}
    documents.append({**documents[0], "name": "third"})

    def send(alerts: list[Any], **fields: Any) -> Any:
        return _post(api, "import", json={"alerts": alerts, **fields})

    dry = msgspec.convert(send(documents, dry_run=True).json(), alert_types.ImportOutcomes)
    assert [each.outcome for each in dry.alerts] == ["unchanged", "changed", "added"]
    assert api.call("GET", "/api/v1/alerts/third").status_code == 404
    broken = send([*documents, {**documents[0], "name": "fourth", "rule": 5}])
    assert (broken.status_code, "alert 4: $.rule" in broken.json()["detail"]) == (422, True)
    assert api.call("GET", "/api/v1/alerts/third").status_code == 404
    assert send(documents).json()["alerts"][2] == {"name": "third", "outcome": "added"}
    assert {each["outcome"] for each in send(documents).json()["alerts"]} == {"unchanged"}
    empty = send([])
    assert (empty.status_code, empty.json()["detail"]) == (422, "there are no alerts in it")


def test_what_an_alert_is_now_is_shown_with_what_is_missing(api: ApiStage) -> None:
    _add(api, "shown", "ZZZ > 5 day")
    found = msgspec.convert(api.get("/api/v1/alerts/shown/now"), alert_types.NowView)
    assert [(each.symbol, each.rule, each.bar) for each in found.now] == [("ZZZ", None, None)]
    assert found.warnings == ["no day bars of ZZZ are stored, and no schedule loads them"]
    assert api.call("GET", "/api/v1/alerts/shown/now", "bob").status_code == 404


def test_what_cannot_be_tried_ends_its_run_with_the_reason(api: ApiStage, registry: Registry) -> None:
    rule = {"rule": {"indicator": "price", "operator": ">", "value": 5}}
    runs = [
        api.submit(job="alert_test", symbols=["AAA"], parameters={"document": rule}),
        api.submit(job="alert_test", symbols=["AAA"], timeframe="day", parameters={"document": {"rule": 5}}),
    ]
    api.execute(registry)
    found = [api.get(f"/api/v1/runs/{run}") for run in runs]
    assert [each["status"] for each in found] == ["FAILED", "FAILED"]
    assert found[0]["reason"] == "job 'alert_test' needs a timeframe"
    assert found[1]["reason"].startswith("$.rule: 5 is not")


def test_an_alert_is_tried_on_history_by_a_run_of_the_pool(api: ApiStage, registry: Registry) -> None:
    for day, price in zip(_DAYS, _PRICES, strict=True):
        api.connection.execute(
            "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
            " VALUES ('AAA', make_date(2025, 11, %(day)s), %(price)s, %(price)s, %(price)s, %(price)s, 1)",
            {"day": day, "price": price},
        )
    _add(api, "tried", symbols=["AAA", "BBB"])
    answer = _post(api, "tried/test?at=2025-11-11")
    run = msgspec.convert(answer.json(), types.StartedRun)
    assert (answer.status_code, answer.headers["location"]) == (202, f"/api/v1/runs/{run.id}")
    api.execute(registry)
    assert api.get(f"/api/v1/runs/{run.id}")["status"] == "COMPLETED"
    result = api.get(f"/api/v1/runs/{run.id}/result?symbol=AAA")["result"]
    happened = [(each["bar"][:10], each["fires"], each["why"]) for each in result["decisions"]]
    assert happened == [("2025-11-06", True, "fires"), ("2025-11-10", False, "released, false: price > 102")]
    assert (result["bars"], result["firings"], result["left_out"]) == (7, 1, 0)
    without = api.get(f"/api/v1/runs/{run.id}/result?symbol=BBB")["result"]
    assert (without["bars"], without["note"]) == (0, "no closed day bars of BBB are stored in this period")
    assert api.call("GET", f"/api/v1/runs/{run.id}", "bob").status_code == 404
    assert api.get("/api/v1/alerts/tried/firings") == {"firings": [], "corrections": []}
    assert api.get("/api/v1/firings?limit=5") == {"firings": [], "corrections": []}
