"""Queues are paused and resumed over HTTP by administrators, and everybody sees why."""

import msgspec

from api_stage import ApiStage
from harness import start_run, wait_until
from streamworkers.api.routes import queues
from streamworkers.engine.redis.lanes import lanes_of
from streamworkers.engine.redis.streams import Streams, open_streams
from streamworkers.engine.registry import Registry


def _streams(api: ApiStage) -> Streams:
    assert api.settings.redis_url is not None
    return open_streams(api.settings.redis_url.get_secret_value(), api.settings.key_prefix)


def _find(api: ApiStage, name: str) -> queues.QueueView:
    listed = msgspec.convert(api.get("/api/v1/queues", "eve"), queues.QueueList).queues
    return next(each for each in listed if each.name == name)


def test_a_queue_is_paused_and_resumed_and_workers_begin_nothing_in_between(api: ApiStage, registry: Registry) -> None:
    streams = _streams(api)
    streams.queues.ensure_groups(lanes_of("tests"))
    assert _find(api, "tests").pause is None
    paused = api.call("POST", "/api/v1/queues/tests/pause", "root", json={"reason": "the disk is full"})
    assert paused.status_code == 200, paused.text
    made = msgspec.convert(paused.json(), queues.PauseView)
    assert (made.queue, made.paused_by, made.reason) == ("tests", "root", "the disk is full")
    assert _find(api, "tests").pause == made
    flag = streams.keys.paused("tests")
    wait_until(lambda: streams.client.raw.exists(flag), what="the flag follows the commit")
    start_run(api.connection, streams, registry, "ledger_entry", "A")
    assert streams.queues.read(lanes_of("tests"), "one", 10, 1) == []
    again = api.call("POST", "/api/v1/queues/tests/pause", "root", json={"reason": "again"})
    assert (again.status_code, "is paused already, since" in again.json()["detail"]) == (409, True), again.text
    resumed = api.call("POST", "/api/v1/queues/tests/resume", "root")
    assert msgspec.convert(resumed.json(), queues.PauseView) == made
    wait_until(lambda: not streams.client.raw.exists(flag), what="the flag is gone")
    assert [each.queue for each in streams.queues.read(lanes_of("tests"), "one", 10, 1)] == ["tests"]
    rows = api.connection.execute(
        "SELECT action, actor_user FROM audit_log WHERE object_id = 'tests' AND outcome = 'ok' ORDER BY id"
    ).fetchall()
    assert rows == [("queue.pause", "root"), ("queue.resume", "root")]


def test_what_cannot_be_paused_or_resumed_is_rejected(api: ApiStage) -> None:
    for path, user, body, status, detail in (
        ("tests/pause", "ann", {"reason": "why"}, 403, "the token lacks the scope 'admin'"),
        ("tests/resume", "ann", None, 403, "the token lacks the scope 'admin'"),
        ("testz/pause", "root", {"reason": "why"}, 404, "no queue is named 'testz'"),
        ("testz/resume", "root", None, 404, "no queue is named 'testz'"),
        ("tests/resume", "root", None, 409, "queue 'tests' is not paused"),
        ("tests/pause", "root", {}, 422, "reason"),
        ("tests/pause", "root", {"reason": ""}, 422, "reason"),
        ("tests/pause", "root", {"reason": "a\nb"}, 422, "is not 1 to 500 printable characters"),
    ):
        answer = api.call("POST", f"/api/v1/queues/{path}", user, json=body)
        assert (answer.status_code, detail in answer.json()["detail"]) == (status, True), answer.text
    assert _find(api, "tests").pause is None
