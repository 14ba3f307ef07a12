"""Runs over HTTP: started once, listed in pages that skip nothing, looked into, cancelled, replayed."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec
import pytest

from api_stage import ApiStage
from harness import wait_until
from patience import patient
from streamworkers.api.routes import closed_items, items, types
from streamworkers.engine.enqueue import submit_described
from streamworkers.engine.registry import Registry

_BODY = {"job": "ledger_entry", "symbols": ["A", "B"]}


def _start(api: ApiStage, key: str, body: dict[str, Any] | None = None, user: str = "ann") -> Any:
    return api.call("POST", "/api/v1/runs", user, json=body or _BODY, headers={"Idempotency-Key": key})


def test_a_request_that_is_sent_again_has_one_effect_and_one_answer(api: ApiStage) -> None:
    first, again = _start(api, '"once"'), _start(api, "once")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.json()["is_new"] is True
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = _start(api, "once", {**_BODY, "symbols": ["C"]})
    assert (other.status_code, other.json()["detail"]) == (422, "Idempotency-Key 'once' belongs to another request")
    assert _start(api, "once", user="bob").json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256, "ä"])
def test_a_key_that_breaks_a_rule_is_rejected(api: ApiStage, key: str) -> None:
    answer = _start(api, key.encode("latin-1"))  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert "is not 1 to 255 visible characters of ASCII" in answer.json()["detail"]


def test_a_run_comes_after_one_that_its_user_may_see(api: ApiStage) -> None:
    mine, theirs = _start(api, "1").json()["id"], _start(api, "2", user="bob").json()["id"]
    later = _start(api, "3", {**_BODY, "after": [mine], "start_at": "2026-01-01T00:00:00Z"})
    assert later.status_code == 202
    shown = api.call("GET", f"/api/v1/runs/{later.json()['id']}", "ann").json()
    assert (shown["after"], shown["after_when"], shown["is_waiting"]) == ([mine], "completed", True)
    for number, key in ((theirs, "4"), (12345, "5"), (-1, "6")):
        hidden = _start(api, key, {**_BODY, "after": number})
        assert (hidden.status_code, hidden.json()["detail"]) == (422, f"there is no run {number} to come after")
    wrong = _start(api, "7", {**_BODY, "after": mine, "after_when": "failed"})
    assert wrong.status_code in (400, 422)
    assert "after_when" in wrong.json()["detail"]


def test_a_rejected_request_leaves_its_key_free(api: ApiStage) -> None:
    assert _start(api, "second-try", {"job": "ledger_entry"}).status_code == 422
    assert _start(api, "second-try").status_code == 202


def test_of_many_at_once_with_one_key_one_takes_effect(api: ApiStage) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: _start(api, "many"), range(48)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {202, 409, 503}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert _start(api, "many").headers["idempotency-replayed"] == "true"


def test_a_request_in_progress_is_a_conflict_and_another_body_is_none_of_it(
    api: ApiStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slowly(*words: Any) -> Any:
        entered.set()
        assert go_on.wait(patient(60))
        return submit_described(*words)

    monkeypatch.setattr("streamworkers.api.routes.runs.submit_described", slowly)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(_start, api, "slow")
        assert entered.wait(patient(60))
        again, other = _start(api, "slow"), _start(api, "slow", {**_BODY, "symbols": ["C"]})
        go_on.set()
        assert first.result().status_code == 202
    assert (again.status_code, again.headers["retry-after"]) == (409, "1")
    assert again.json()["detail"] == "a request with Idempotency-Key 'slow' is in progress"
    assert other.status_code == 422


def test_a_key_in_the_body_finds_the_run_of_the_first(api: ApiStage) -> None:
    first, again = (api.call("POST", "/api/v1/runs", json={**_BODY, "key": "eod"}) for _ in range(2))
    assert (first.json()["is_new"], again.json()["is_new"]) == (True, False)
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["location"] == f"/api/v1/runs/{first.json()['id']}"
    other = api.call("POST", "/api/v1/runs", json={**_BODY, "key": "eod", "symbols": ["C"]})
    assert other.status_code == 422
    assert "whose request differs in: symbols or items" in other.json()["detail"]


def test_pages_show_each_run_once_while_others_are_added(api: ApiStage) -> None:
    wanted = [api.submit("bob", parameters={"milliseconds": number}) for number in range(7)]
    seen: list[int] = []
    page = api.get("/api/v1/runs?user=bob&limit=3", "bob")
    while True:
        seen += [each["id"] for each in page["items"]]
        if page["next"] is None:
            break
        api.submit("bob")
        page = api.get(f"/api/v1/runs?user=bob&limit=3&cursor={page['next']}", "bob")
    assert [run for run in seen if run in wanted] == sorted(wanted, reverse=True)
    assert len(seen) == len(set(seen))


def test_a_cursor_is_for_its_query_and_the_header_leads_on(api: ApiStage) -> None:
    for _ in range(3):
        api.submit()
    answer = api.call("GET", "/api/v1/runs?job=ledger_entry&limit=2")
    cursor = answer.json()["next"]
    link = answer.headers["link"].partition(">")[0].lstrip("<")
    pages = [api.get(f"/api/v1/runs{query}") for query in (link, f"?job=ledger_entry&limit=2&cursor={cursor}")]
    assert pages[0]["items"] == pages[1]["items"]
    msgspec.convert(pages[0], types.RunPage)
    assert api.call("GET", f"/api/v1/runs?limit=2&cursor={cursor}").status_code == 422


def test_a_walk_shows_every_run_once_and_says_when_it_began(api: ApiStage) -> None:
    runs = [api.submit() for _ in range(3)]
    seen: list[int] = []
    moments, query = set(), "?order=asc&limit=1&user=ann"

    def is_over() -> bool:
        nonlocal query
        answer = api.call("GET", f"/api/v1/runs{query}")
        page = answer.json()
        seen.extend(each["id"] for each in page["items"])
        moments.add(page["as_of"])
        assert ("retry-after" in answer.headers) <= (page["items"] == [])
        query = answer.headers["link"].partition(">")[0].lstrip("<") if page["next"] else ""
        return page["next"] is None

    wait_until(is_over, what="the walk is over")
    assert seen[-3:] == runs
    assert len(seen) == len(set(seen))
    assert len(moments) == 1
    answer = api.call("GET", "/api/v1/runs?order=asc&before=5")
    assert (answer.status_code, answer.json()["detail"][:8]) == (422, "`before`")


def test_filters_choose_runs(api: ApiStage) -> None:
    run = api.submit()
    assert api.get("/api/v1/runs?job=noop")["items"] == []
    assert api.get("/api/v1/runs?since=2100-01-01T00:00:00Z")["items"] == []
    assert run in [each["id"] for each in api.get("/api/v1/runs?status=PENDING&limit=1000")["items"]]


def test_a_run_is_followed_to_its_end(api: ApiStage, registry: Registry) -> None:
    run = api.submit()
    api.execute(registry)
    shown = api.get(f"/api/v1/runs/{run}")
    assert msgspec.convert(shown, types.RunView).status == "COMPLETED"
    items = msgspec.convert(api.get(f"/api/v1/runs/{run}/items?limit=1"), types.ItemPage)
    assert ([item.symbol for item in items.items], items.next) == (["A"], 0)
    rest = msgspec.convert(api.get(f"/api/v1/runs/{run}/items?after=0"), types.ItemPage)
    assert ([item.symbol for item in rest.items], rest.next) == (["B"], None)
    assert msgspec.convert(api.get(f"/api/v1/runs/{run}/result?symbol=B"), types.ItemView).status == "completed"
    ledger = msgspec.convert(api.get(f"/api/v1/runs/{run}/ledger"), types.LedgerView)
    assert (ledger.items, ledger.errors) == ({"completed": 2}, [])
    answer = api.call("GET", f"/api/v1/runs/{run}/result?symbol=Z")
    assert (answer.status_code, answer.json()["detail"]) == (404, "no item of this run is named 'Z'")


def test_a_run_is_cancelled_once_and_its_dead_items_run_again(api: ApiStage, registry: Registry) -> None:
    run = api.submit()
    assert api.call("DELETE", f"/api/v1/runs/{run}").json() == {"id": run, "items": 0}
    again = api.call("DELETE", f"/api/v1/runs/{run}")
    assert again.status_code == 409
    assert "is CANCELLED, and only a run that is PENDING or RUNNING can be cancelled" in again.json()["detail"]
    dead = api.submit()
    api.execute(registry)
    answer = api.call("POST", f"/api/v1/runs/{dead}/replay")
    assert (answer.status_code, answer.json()["detail"]) == (409, f"run {dead} has no item that is failed")
    api.connection.execute("UPDATE run_items SET status = 'failed', error = 'x' WHERE run_id = %s", (dead,))
    errors = api.get(f"/api/v1/runs/{dead}/ledger")["errors"]
    assert [(each["error"], each["items"]) for each in errors] == [("x", 2)]
    answer = api.call("POST", f"/api/v1/runs/{dead}/replay")
    assert (answer.status_code, answer.json()) == (202, {"id": dead, "items": 2})
    assert api.get(f"/api/v1/runs/{dead}")["status"] == "RUNNING"


def test_closed_items_are_listed_retried_and_purged_by_seq(api: ApiStage, registry: Registry) -> None:
    run = api.submit(symbols=["A", "B", "C"])
    api.execute(registry)
    api.connection.execute("UPDATE run_items SET status = 'failed', error = 'x' WHERE run_id = %s", (run,))
    api.connection.execute("UPDATE runs SET failed_count = 3, completed_count = 0 WHERE id = %s", (run,))
    listed = msgspec.convert(api.get(f"/api/v1/dead?run={run}&error_like=x", "root"), closed_items.DeadList).items
    assert [(each["run_id"], each["seq"]) for each in listed] == [(run, 0), (run, 1), (run, 2)]
    assert api.call("GET", "/api/v1/dead").status_code == 403
    path = f"/api/v1/runs/{run}"
    assert api.call("POST", f"{path}/purge", "bob", json={"items": [0]}).status_code == 404
    assert api.call("POST", f"{path}/purge", json={"items": [0]}).json() == {"id": run, "items": 1}
    again = api.call("POST", f"{path}/purge", json={"items": [0]})
    assert (again.status_code, "none of these items that is dead" in again.json()["detail"]) == (409, True)
    assert api.call("POST", f"{path}/replay", json={"items": [1]}).json() == {"id": run, "items": 1}
    assert api.call("POST", f"{path}/retry").json() == {"id": run, "items": 1}
    assert api.call("POST", f"{path}/purge").status_code == 409
    assert api.call("POST", f"{path}/retry", json={"items": [2**31]}).status_code == 422


def test_items_of_all_runs_are_found_in_pages_by_those_who_may_see_the_runs(api: ApiStage, registry: Registry) -> None:
    (begun,) = api.connection.execute("SELECT now()").fetchone() or ()
    since = f"since={begun:%Y-%m-%dT%H:%M:%S.%fZ}"
    runs = [api.submit(symbols=["A", "B", "C"]), api.submit(user="bob", symbols=["A"]), api.submit(symbols=["B"])]
    api.execute(registry)
    api.connection.execute(
        "UPDATE run_items SET status = 'failed', error = '100%% Late_' WHERE symbol = 'B' AND run_id = ANY(%s)", (runs,)
    )
    api.connection.execute("UPDATE runs SET failed_count = 1 WHERE id = ANY(%s)", (runs,))
    mine = [(runs[2], 0), (runs[0], 0), (runs[0], 1), (runs[0], 2)]

    def find(query: str, user: str = "ann") -> list[tuple[int, int]]:
        page = msgspec.convert(api.get(f"/api/v1/items?{since}&{query}", user), items.FoundItems)
        return [(each.run_id, each.seq) for each in page.items]

    assert find("limit=9") == mine
    assert find("limit=9", "bob") == [(runs[1], 0)]
    assert find("limit=9", "root") == [(runs[2], 0), (runs[1], 0), *mine[1:]]
    assert find("status=failed&error=100%25%20LATE_") == [mine[0], mine[2]]
    assert find(f"symbol=B&run={runs[0]}") == [mine[2]]
    assert find(f"run={runs[1]}") == find("job=noop") == find("until=2000-01-01T00:00:00Z") == []
    seen: list[tuple[int, int]] = []
    query = f"/api/v1/items?{since}&limit=3"
    while query:
        page = api.get(query)
        seen += [(each["run_id"], each["seq"]) for each in page["items"]]
        query = page["next"] and f"/api/v1/items?{since}&limit=3&cursor={page['next']}"
    assert seen == mine


def test_items_of_a_week_are_searched_unless_a_run_or_a_time_is_named(api: ApiStage) -> None:
    page = api.get("/api/v1/items")
    days = (datetime.fromisoformat(page["as_of"]) - datetime.fromisoformat(page["since"])).days
    assert (days, api.get("/api/v1/items?run=1")["since"]) == (7, None)
    for wrong in ("status=dead", "limit=0", "limit=1001", "cursor=x", "run=0", "error=%00", "since=2026-01-01"):
        assert api.call("GET", f"/api/v1/items?{wrong}").status_code == 422, wrong


def test_every_change_and_every_rejected_one_has_one_row(api: ApiStage) -> None:
    def count() -> int:
        row = api.connection.execute("SELECT count(*) FROM audit_log").fetchone()
        assert row is not None
        return int(row[0])

    before = count()
    run = api.submit()
    sent = [
        api.call("DELETE", f"/api/v1/runs/{run}"),
        api.call("DELETE", f"/api/v1/runs/{run}"),
        api.call("DELETE", f"/api/v1/runs/{run}", "bob"),
        api.call("POST", "/api/v1/runs", json={"job": "ledger_entry"}),
        api.call("POST", f"/api/v1/runs/{run}/replay", "eve"),
    ]
    assert [answer.status_code for answer in sent] == [200, 409, 404, 400, 403]
    api.get(f"/api/v1/runs/{run}")
    assert count() - before == 1 + len(sent)


def test_jobs_are_listed_with_their_parameters(api: ApiStage) -> None:
    assert "milliseconds" in _parameters(api)


def _parameters(api: ApiStage) -> dict[str, Any]:
    jobs = msgspec.convert(api.get("/api/v1/jobs"), types.JobList).jobs
    properties: dict[str, Any] = next(job for job in jobs if job.name == "ledger_entry").parameters["properties"]
    return properties
