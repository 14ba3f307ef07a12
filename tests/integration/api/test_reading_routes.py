"""What programs read: alerts, notifications, universes, bars, results, queues, workers."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from api_stage import ApiStage
from streamworkers.actor import Actor
from streamworkers.alerts.alert_text import parse_alert_text
from streamworkers.alerts.store.changes import add_alert
from streamworkers.api.routes import alert_types, market, notifications, pool, queues
from streamworkers.market.universes.store import add_symbols
from streamworkers.rules.market_vocabulary import MarketVocabulary


def _add_alert(api: ApiStage, user: str, name: str) -> None:
    alert = replace(parse_alert_text("AAPL price > 5 day", MarketVocabulary()), name=name)
    add_alert(api.connection, Actor(user), alert)


def test_alerts_are_seen_paused_and_removed_by_their_user(api: ApiStage) -> None:
    _add_alert(api, "ann", "high")
    found = msgspec.convert(api.get("/api/v1/alerts"), alert_types.AlertList)
    assert [each.name for each in found.alerts] == ["high"]
    shown = api.call("GET", "/api/v1/alerts/high")
    assert msgspec.convert(shown.json(), alert_types.AlertView).paused_at is None
    assert api.call("POST", "/api/v1/alerts/high/pause").json()["paused_at"] is not None
    assert api.call("POST", "/api/v1/alerts/high/resume").json()["paused_at"] is None
    assert msgspec.convert(api.get("/api/v1/alerts/high/firings"), alert_types.FiringList).firings == []
    for method, path in (("GET", "high"), ("POST", "high/pause"), ("DELETE", "high")):
        assert api.call(method, f"/api/v1/alerts/{path}", "bob").status_code == 404
    late = api.call("DELETE", "/api/v1/alerts/high", headers={"If-Match": shown.headers["etag"]})
    assert late.status_code == 412
    tag = api.call("GET", "/api/v1/alerts/high").headers["etag"]
    gone = api.call("DELETE", "/api/v1/alerts/high", headers={"If-Match": tag})
    assert gone.json() == {"name": "high", "removed": True}
    actions = api.connection.execute(
        "SELECT action FROM audit_log WHERE object_type = 'alert' AND outcome = 'ok' ORDER BY id"
    ).fetchall()
    assert [action for (action,) in actions] == ["alert.create", "alert.pause", "alert.resume", "alert.remove"]


def test_notifications_are_seen_by_their_user_and_by_admins(api: ApiStage) -> None:
    row = api.connection.execute(
        "INSERT INTO notifications (id, user_id, type, dedup_key, priority, data, created_at)"
        " VALUES (gen_random_uuid(), 'ann', 'message', 'k', 'normal', '{\"text\": \"x\"}', now()) RETURNING id::text"
    ).fetchone()
    assert row is not None
    (number,) = row
    own = msgspec.convert(api.get("/api/v1/notifications"), notifications.NotificationList).notifications
    assert [each["id"] for each in own] == [number]
    assert api.get("/api/v1/notifications", "bob") == {"notifications": []}
    assert len(api.get("/api/v1/notifications?limit=5", "root")["notifications"]) == 1
    shown = msgspec.convert(api.get(f"/api/v1/notifications/{number}"), notifications.NotificationView)
    assert (shown.user, shown.data, shown.deliveries) == ("ann", {"text": "x"}, [])
    for text, user in ((number, "bob"), ("x", "ann"), ("00000000-0000-0000-0000-000000000001", "ann")):
        answer = api.call("GET", f"/api/v1/notifications/{text}", user)
        assert (answer.status_code, answer.json()["error"]) == (404, f"no notification is named '{text}'")


def test_universes_bars_and_results_are_read(api: ApiStage) -> None:
    add_symbols(api.connection, "two", ["AAA", "BBB"])
    found = msgspec.convert(api.get("/api/v1/universes", "eve"), market.UniverseList)
    assert [(each.name, each.symbols) for each in found.universes] == [("two", 2)]
    shown = msgspec.convert(api.get("/api/v1/universes/two"), market.UniverseSymbols)
    assert (shown.count, shown.symbols) == (2, ["AAA", "BBB"])
    answer = api.call("GET", "/api/v1/universes/three")
    assert (answer.status_code, answer.json()["error"]) == (404, "no universe is named 'three'")
    api.connection.execute(
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
        " VALUES ('AAA', '2025-11-03', 10, 11, 9, 10.5, 1000), ('AAA', '2025-11-04', 10, 12, 9, 11.5, NULL)"
    )
    bars = msgspec.convert(api.get("/api/v1/bars?symbol=AAA&limit=1"), market.BarList)
    expected = {"time": "2025-11-04", "open": 10.0, "high": 12.0, "low": 9.0, "close": 11.5, "volume": None}
    assert (bars.timeframe, bars.bars) == ("day", [expected])
    results = msgspec.convert(api.get("/api/v1/results?symbol=AAA&timeframe=hour"), market.ResultList)
    assert (results.timeframe, results.indicators, results.patterns) == ("hour", [], [])


def test_an_admin_replaces_the_symbols_of_a_universe(api: ApiStage) -> None:
    def put(version: str | None, user: str = "root", **body: Any) -> Any:
        headers = {} if version is None else {"If-Match": version}
        return api.call("PUT", "/api/v1/universes/own", user, json=body, headers=headers)

    made = put("*", symbols=["BBB", "AAA", "BBB"])
    assert msgspec.convert(made.json(), market.ReplacedUniverse) == market.ReplacedUniverse("own", 2, 0)
    tag = api.call("GET", "/api/v1/universes/own").headers["etag"]
    assert made.headers["etag"] == tag
    assert api.call("GET", "/api/v1/universes/own", headers={"If-None-Match": tag}).status_code == 304
    changed = put(tag, symbols=["CCC", "AAA"]).json()
    assert (changed["added"], changed["removed"]) == (1, 1)
    assert [put(version, symbols=["DDD"]).status_code for version in (tag, None)] == [412, 428]
    assert api.get("/api/v1/universes/own")["symbols"] == ["AAA", "CCC"]
    assert put("*", "ann", symbols=[]).status_code == 403
    for body, message in (
        ({"symbols": ["a b"]}, "'a b'"),
        ({"symbols": ["A"], "type": "HERD"}, "the type 'HERD' is not one of ETF"),
    ):
        wrong = put("*", **body)
        assert (wrong.status_code, message in wrong.json()["detail"]) == (422, True), wrong.text
    rows = api.connection.execute(
        "SELECT actor_user, after ->> 'added' FROM audit_log WHERE object_id = 'own' AND outcome = 'ok' ORDER BY id"
    ).fetchall()
    assert rows == [("root", "2"), ("root", "1")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "query parameter `symbol` is missing"),
        ("?symbol=AAA&timeframe=year", "timeframe 'year' is not one of"),
        ("?symbol=AAA&limit=0", "query parameter `limit`: 0 is below 1"),
    ],
)
def test_a_series_that_cannot_be_is_rejected(api: ApiStage, query: str, message: str) -> None:
    for path in ("/api/v1/bars", "/api/v1/results"):
        answer: Any = api.call("GET", path + query)
        assert (answer.status_code, message in answer.json()["detail"]) == (422, True), answer.text


def test_queues_and_workers_are_listed(api: ApiStage) -> None:
    found_queues = msgspec.convert(api.get("/api/v1/queues"), queues.QueueList).queues
    assert {"tests", "analysis"} <= {each.name for each in found_queues}
    assert {(each.waiting, each.pending, each.dead) for each in found_queues} == {(0, 0, 0)}
    api.connection.execute(
        "INSERT INTO processes (id, kind, host, pid, version) VALUES ('one', 'api', 'here', 1, '0.2.0')"
    )
    found = msgspec.convert(api.get("/api/v1/workers"), pool.WorkerList)
    assert [(each.id, each.kind, each.is_silent) for each in found.processes] == [("one", "api", False)]
    assert found.supervisors == []
