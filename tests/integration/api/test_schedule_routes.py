"""Schedules over HTTP: versions, owners, triggers; and the paths of the replaced systems."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec
import pytest

from api_stage import ApiStage
from streamworkers.api.routes import old_jobs, schedule_types
from streamworkers.market.universes.store import add_symbols
from streamworkers.schedules import store
from streamworkers.schedules.definition import ScheduleDefinition

_FIELDS = {"job": "ledger_entry", "target": {"symbols": ["A"]}, "cron": "0 3 * * *"}


def _create(api: ApiStage, name: str, user: str = "ann", **fields: Any) -> Any:
    return api.call("POST", "/api/v1/schedules", user, json={"name": name, **_FIELDS, **fields})


def _put(api: ApiStage, name: str, version: str | None, user: str = "ann", **fields: Any) -> Any:
    headers = {} if version is None else {"If-Match": version}
    body = {"name": name, **_FIELDS, **fields}
    return api.call("PUT", f"/api/v1/schedules/{name}", user, json=body, headers=headers)


@pytest.fixture(scope="module")
def standing(api: ApiStage) -> str:
    """A schedule of nobody."""
    store.save_schedule(api.connection, ScheduleDefinition.parse({"name": "standing", **_FIELDS}))
    return "standing"


def test_a_schedule_is_created_seen_changed_and_removed(api: ApiStage) -> None:
    made = _create(api, "own")
    assert (made.status_code, made.headers["location"]) == (201, "/api/v1/schedules/own")
    shown = msgspec.convert(made.json(), schedule_types.ScheduleView)
    assert (shown.name, shown.user_id, shown.enabled) == ("own", "ann", True)
    assert shown.next_run_at is not None
    assert made.headers["etag"] == f'"{shown.version}"'
    assert api.get(f"/api/schedules/{shown.id}") == made.json()
    changed = _put(api, "own", made.headers["etag"], jitter_seconds=5)
    assert (changed.status_code, changed.json()["jitter_seconds"]) == (200, 5)
    assert changed.json()["user_id"] == "ann"
    gone = api.call("DELETE", "/api/v1/schedules/own", headers={"If-Match": "*"})
    assert gone.json() == {"name": "own", "removed": True}
    assert api.call("GET", "/api/v1/schedules/own").json()["error"] == "no schedule is named 'own'"


def test_symbols_without_bars_are_said_of_a_schedule_whose_job_needs_them(api: ApiStage) -> None:
    slip = ["no bars of NOPE are stored; `streamworkers load --symbols` loads them"]
    made = _create(api, "slip", job="indicators", target={"symbols": ["NOPE"]})
    assert (made.status_code, made.json()["warnings"]) == (201, slip)
    assert _put(api, "slip", made.headers["etag"], target={"symbols": ["NOPE"]}).json()["warnings"] == []
    add_symbols(api.connection, "somewhere", ["NOPE"])
    assert _create(api, "all", job="indicators", target={"universe": "somewhere"}).json()["warnings"] == []


def test_a_version_has_to_be_named_and_is_that_of_the_last_change(api: ApiStage) -> None:
    tag = _create(api, "versioned").headers["etag"]
    assert api.call("GET", "/api/v1/schedules/versioned", headers={"If-None-Match": tag}).status_code == 304
    without = _put(api, "versioned", None)
    assert (without.status_code, "If-Match" in without.json()["detail"]) == (428, True)
    assert _put(api, "versioned", tag).status_code == 200
    late = _put(api, "versioned", tag)
    assert (late.status_code, f"If-Match is {tag!r}" in late.json()["detail"]) == (412, True)
    for malformed in ("", "0", '"0', "**", '"0" "1"', '"' + "x" * 5_000):
        answer = _put(api, "versioned", malformed)
        assert (answer.status_code, "is neither * nor a version in quotes" in answer.json()["detail"]) == (400, True)
    assert api.call("DELETE", "/api/v1/schedules/versioned", headers={"If-Match": tag}).status_code == 412


def test_of_fifty_changes_of_one_version_one_is_made(api: ApiStage) -> None:
    tag = _create(api, "contested").headers["etag"]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda number: _put(api, "contested", tag, jitter_seconds=number), range(50)))
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] == 1
    assert set(statuses) <= {200, 412, 503}


def test_errors_of_a_definition_are_named(api: ApiStage, standing: str) -> None:
    for fields, message in (
        ({"cron": "every day"}, "schedule 'bad'"),
        ({"job": "nop"}, "no job is named 'nop'"),
        ({"parameters": {"x": 1}}, "parameter x=1 of job 'ledger_entry'"),
        ({"colour": 1}, "field `colour` is not known"),
    ):
        answer = _create(api, "bad", **fields)
        assert (answer.status_code, message in answer.json()["detail"]) == (422, True), answer.text
    taken = _create(api, standing)
    assert (taken.status_code, taken.json()["detail"]) == (409, "there is a schedule 'standing' already")


def test_a_schedule_belongs_to_its_user(api: ApiStage, standing: str) -> None:
    _create(api, "of_ann")
    assert api.call("GET", "/api/v1/schedules/of_ann", "bob").status_code == 404
    assert _put(api, "of_ann", "*", "bob").status_code == 404
    assert api.call("POST", "/api/jobs/trigger/of_ann", "bob").status_code == 404
    names = [each["name"] for each in api.get("/api/v1/schedules", "bob")["schedules"]]
    assert (standing in names, "of_ann" in names) == (True, False)
    answer = _create(api, "of_another", user_id="bob")
    assert (answer.status_code, answer.json()["detail"]) == (403, "only an admin gives a schedule to another user")
    assert _create(api, "of_another", "root", user_id="bob").json()["user_id"] == "bob"
    assert _create(api, "of_eve", "eve").status_code == 403


def test_a_trigger_may_be_about_something_else(api: ApiStage, standing: str) -> None:
    path = f"/api/v1/schedules/{standing}/trigger"
    run = api.call("POST", path, json={"symbols": ["X", "Y"], "timeframe": "hour", "parameters": {}}).json()["id"]
    (tick,) = api.get(f"/api/v1/schedules/{standing}/ticks")["ticks"]
    assert (tick["run_id"], tick["reason"]) == (run, "triggered by hand about X,Y, timeframe hour")
    (request,) = api.connection.execute("SELECT request::text FROM runs WHERE id = %s", (run,)).fetchone() or ("",)
    assert all(word in request for word in ('"X"', '"Y"', '"hour"'))
    api.call("DELETE", f"/api/v1/runs/{run}")
    for body, message in (
        ({"symbols": ["X"], "universe": "u"}, "name either symbols or a universe"),
        ({"timeframe": "fortnight"}, "timeframe 'fortnight' is not one of"),
        ({"symbols": []}, "symbols"),
    ):
        rejected = api.call("POST", path, json=body)
        assert rejected.status_code == 422
        assert message in rejected.text


def test_a_preview_and_a_schedule_may_have_an_end(api: ApiStage, standing: str) -> None:
    body = {"cron": "0 12 * * *", "ends_at": "2199-01-05", "from": "2199-01-04T00:00:00Z"}
    assert len(api.call("POST", "/api/v1/schedules/preview", json=body).json()["ticks"]) == 2
    shown = api.call("GET", f"/api/v1/schedules/{standing}")
    change = {"ends_at": "2199-01-05T12:00", "max_run_seconds": 60, "done_by": "19:00"}
    headers = {"If-Match": shown.headers["ETag"]}
    changed = api.call("PATCH", f"/api/v1/schedules/{standing}", json=change, headers=headers).json()
    assert {name: changed[name] for name in change} == change | {"ends_at": "2199-01-05T17:00:00Z"}


def test_a_trigger_submits_a_run_of_the_schedule(api: ApiStage, standing: str) -> None:
    answer = api.call("POST", f"/api/v1/schedules/{standing}/trigger")
    triggered = msgspec.convert(answer.json(), schedule_types.Triggered)
    assert (answer.status_code, triggered.job_id) == (202, standing)
    run = api.get(f"/api/v1/runs/{triggered.id}")
    assert (run["schedule"], run["trigger"], run["user"]) == (standing, "manual", "ann")
    shown = api.get(f"/api/v1/schedules/{standing}")
    assert (shown["last_state"], shown["last_run"]) == ("started", triggered.id)
    again = api.call("POST", f"/api/v1/schedules/{standing}/trigger")
    assert (again.status_code, "max_instances 1" in again.json()["detail"]) == (409, True)
    api.call("DELETE", f"/api/v1/runs/{triggered.id}")
    assert api.call("POST", f"/api/jobs/trigger/{standing}").status_code == 202


def test_the_old_paths_show_pause_resume_and_list(api: ApiStage, standing: str) -> None:
    status = msgspec.convert(api.get("/api/jobs/status", "eve"), old_jobs.OldJobStatus)
    job = next(each for each in status.jobs if each.job_id == standing)
    assert (job.paused, job.trigger, job.job) == (False, "0 3 * * *", "ledger_entry")
    for verb in ("pause", "resume"):
        answer = api.call("POST", f"/api/jobs/{verb}/{standing}").json()
        assert answer == {"success": True, "message": f"schedule {standing} {verb}d", "job_id": standing}
        jobs = api.get("/api/v1/jobs/status")["jobs"]
        assert next(each for each in jobs if each["job_id"] == standing)["paused"] == (verb == "pause")
    for verb in ("trigger", "pause", "resume"):
        answer = api.call("POST", f"/api/jobs/{verb}/nobody")
        assert (answer.status_code, answer.json()["error"]) == (404, "no schedule is named 'nobody'")
    for what in ("reports", "screeners"):
        answer = api.call("POST", f"/api/{what}/run")
        assert (answer.status_code, answer.json()["error"]) == (501, f"{what} do not exist yet")


def test_the_history_shows_ended_runs_by_job_or_schedule(api: ApiStage) -> None:
    run = api.submit()
    api.call("DELETE", f"/api/v1/runs/{run}")
    found = msgspec.convert(api.get("/api/jobs/history?limit=50&job_name=ledger_entry"), old_jobs.ExecutionList)
    assert run in [each.id for each in found.executions]
    assert found.count == len(found.executions)
    assert run not in [each["id"] for each in api.get("/api/jobs/history", "bob")["executions"]]
    assert api.get("/api/jobs/history?limit=1&job_name=nothing") == {"count": 0, "executions": []}


def test_the_next_ticks_are_listed(api: ApiStage, standing: str) -> None:
    ticks = api.get(f"/api/v1/schedules/{standing}/next?n=3")["ticks"]
    assert len(ticks) == 3
    assert all("T03:00:00" in tick for tick in ticks)
    _create(api, "by_event", cron=None, on_event="data_load_complete")
    answer = api.call("GET", "/api/v1/schedules/by_event/next")
    assert (answer.status_code, "has no cron: an event starts it" in answer.json()["detail"]) == (422, True)


def test_the_ticks_of_a_cron_are_previewed_as_they_would_start(api: ApiStage, standing: str) -> None:
    start = "2026-03-06T00:00:00Z"
    body = {"cron": "30 2 * * *", "timezone": "America/New_York", "n": 3, "from": start}
    answer = api.call("POST", "/api/v1/schedules/preview", "eve", json=body)
    shown = msgspec.convert(answer.json(), schedule_types.TickList).ticks
    days = ["2026-03-06T02:30:00-05:00", "2026-03-07T02:30:00-05:00", "2026-03-08T03:00:00-04:00"]
    assert [each.isoformat() for each in shown] == [datetime.fromisoformat(day).isoformat() for day in days]
    ticks = api.get(f"/api/v1/schedules/{standing}/next?n=2&from={start}")["ticks"]
    same = api.call("POST", "/api/v1/schedules/preview", json={"cron": "0 3 * * *", "n": 2, "from": start}).json()
    assert same["ticks"] == ticks
    interval = api.call("POST", "/api/v1/schedules/preview", json={"cron": "every 12h", "n": 2, "from": start}).json()
    assert interval["ticks"] == ["2026-03-06T00:00:00-05:00", "2026-03-06T12:00:00-05:00"]
    for changed, message in (
        ({"cron": "soon"}, "cron 'soon'"),
        ({"timezone": "Mars"}, "'Mars'"),
        ({"cron": "session_open"}, "needs a calendar"),
        ({"n": 1001}, "field `n`: 1001 is above 1000"),
        ({"from": "9999-12-31T00:00:00Z", "n": 9}, "leave the years 1 to 9999"),
        ({"from": "0001-01-01T00:00:00Z"}, "leave the years 1 to 9999"),
    ):
        wrong = api.call("POST", "/api/v1/schedules/preview", json=body | changed)
        assert (wrong.status_code, message in wrong.json()["detail"]) == (422, True), wrong.text


def test_fields_of_a_schedule_are_changed_one_by_one(api: ApiStage) -> None:
    tag = _create(api, "patched", jitter_seconds=5, parameters={"milliseconds": 3, "hold_from": 4}).headers["etag"]

    def patch(version: str | None, user: str = "ann", **fields: Any) -> Any:
        headers = {} if version is None else {"If-Match": version}
        return api.call("PATCH", "/api/v1/schedules/patched", user, json=fields, headers=headers)

    changed = patch(tag, cron="0 4 * * *", jitter_seconds=None, parameters={"milliseconds": 7, "hold_from": None})
    shown = msgspec.convert(changed.json(), schedule_types.ScheduleView)
    assert (shown.cron, shown.jitter_seconds, shown.job, shown.user_id) == ("0 4 * * *", 0, "ledger_entry", "ann")
    assert shown.parameters == {"milliseconds": 7}
    assert (patch(tag, enabled=False).status_code, patch(None).status_code) == (412, 428)
    assert patch("*", "bob", enabled=False).status_code == 404
    assert patch("*", user_id="bob").status_code == 403
    wrong = patch("*", job=None)
    assert (wrong.status_code, "null is not a text" in wrong.json()["detail"]) == (422, True)


def test_decided_ticks_are_listed_with_their_runs(api: ApiStage) -> None:
    name = _create(api, "ticked").json()["name"]
    run = api.call("POST", f"/api/v1/schedules/{name}/trigger").json()["id"]
    ticks = msgspec.convert(api.get(f"/api/v1/schedules/{name}/ticks?limit=1"), schedule_types.DecidedTicks).ticks
    assert [(each.state, each.run_id, each.status) for each in ticks] == [("started", run, "PENDING")]
    assert api.call("GET", f"/api/v1/schedules/{name}/ticks", "bob").status_code == 404


def test_changes_by_command_and_by_request_are_in_the_audit_log(api: ApiStage, standing: str) -> None:
    store.set_enabled(api.connection, standing, True)
    api.call("POST", f"/api/jobs/resume/{standing}", "bob")
    rows = api.connection.execute(
        "SELECT actor_kind, actor_user, action FROM audit_log WHERE object_id = %s AND action = 'schedule.resume'"
        " ORDER BY id DESC LIMIT 2",
        (standing,),
    ).fetchall()
    assert rows == [("api", "bob", "schedule.resume"), ("cli", "local", "schedule.resume")]


def test_an_unknown_universe_is_rejected_with_the_nearest_and_a_stored_one_is_a_problem(api: ApiStage) -> None:
    add_symbols(api.connection, "mid-caps", ["A"])
    add_symbols(api.connection, "small-caps", ["B"])
    unknown = "no universe is named 'mid-cap'; did you mean 'mid-caps'?"
    made = _create(api, "over-caps", target={"universe": "small-caps:mid-cap"})
    assert (made.status_code, made.json()["detail"]) == (422, unknown)
    made = _create(api, "over-caps", target={"universe": "small-caps:mid-caps"})
    assert (made.status_code, made.json()["problem"]) == (201, None)
    for method in ("PUT", "PATCH"):
        body = ({"name": "over-caps", **_FIELDS} if method == "PUT" else {}) | {"target": {"universe": "mid-cap"}}
        changed = api.call(method, "/api/v1/schedules/over-caps", json=body, headers={"If-Match": "*"})
        assert (changed.status_code, changed.json()["detail"]) == (422, unknown)
    api.connection.execute("DELETE FROM definition_groups WHERE name = 'small-caps'")
    gone = "no universe is named 'small-caps'"
    assert api.get("/api/v1/schedules/over-caps")["problem"].startswith(gone)
    (listed,) = [row for row in api.get("/api/v1/schedules")["schedules"] if row["name"] == "over-caps"]
    assert listed["problem"].startswith(gone)
    triggered = api.call("POST", "/api/v1/schedules/over-caps/trigger")
    assert (triggered.status_code, triggered.json()["detail"].startswith(gone)) == (422, True)
    api.call("DELETE", "/api/v1/schedules/over-caps", headers={"If-Match": "*"})
