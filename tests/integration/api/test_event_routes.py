"""Runs followed over HTTP: by streams that begin where another one has ended, and by pages that are waited for."""

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from api_stage import ApiStage, running_api
from event_stream import following
from harness import ServiceUrls, wait_until
from patience import patient
from streamworkers.api import event_answers, event_feed
from streamworkers.api.routes.types import EventPageView
from streamworkers.engine import ledger
from streamworkers.engine.registry import Registry
from submitting import load


@pytest.fixture(scope="module")
def listening(service_urls: ServiceUrls, registry: Registry) -> Iterator[ApiStage]:
    """A server that listens and never looks by itself, with room for two followers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_feed, "LOOK_SECONDS", 3600.0)
        with running_api(service_urls, f"test-{secrets.token_hex(6)}", registry, listens=True, api_streams=2) as stage:
            yield stage


def _cancel(api: ApiStage, run: int) -> None:
    ledger.cancel_run(api.connection, load(api.connection, run))


def _has_followers(api: ApiStage, count: int) -> bool:
    return len(api.process._feed) == count


def test_a_stream_has_what_happens_and_ends_with_the_run(api: ApiStage) -> None:
    run = api.submit()
    with following(api, run) as stream:
        headers = stream.answer.headers
        assert headers["content-type"] == "text/event-stream"
        assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-store")
        assert int(headers["ratelimit-remaining"]) >= 0
        first = stream.read()
        assert first is not None
        assert first["data"] == {}
        _cancel(api, run)
        assert stream.kinds() == [(2, "ended")]
    assert api.call("GET", f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": f"{run}:2"}).status_code == 204
    with following(api, run, f"{run}:1") as stream:
        assert stream.kinds() == [(2, "ended")]
    assert api.get(f"/api/v1/runs/{run}")["last_event"] == 2


def test_a_page_is_waited_for_and_has_what_the_stream_has(api: ApiStage) -> None:
    run = api.submit()
    path = f"/api/v1/runs/{run}/events"
    first = api.get(f"{path}?wait=0")
    assert msgspec.convert(first, EventPageView).events[0].kind == "submitted"
    assert (first["next"], first["is_over"]) == (f"{run}:1", False)
    assert api.get(f"{path}?after={first['next']}")["events"] == []
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(api.get, f"{path}?after=1&wait=30")
        wait_until(lambda: _has_followers(api, 1), what="it is waited for")
        _cancel(api, run)
        page = waiting.result(patient(60))
    assert [event["id"] for event in page["events"]] == [f"{run}:2"]
    assert (page["next"], page["is_over"]) == (f"{run}:2", True)
    again = api.call("GET", path, headers={"Accept": "application/json"}).json()
    assert again["events"] == [*first["events"], *page["events"]]
    assert api.get(f"{path}?after=2&wait=30") == {"events": [], "next": f"{run}:2", "is_over": True}


def test_what_is_not_kept_is_replaced_by_the_state(api: ApiStage) -> None:
    run = api.submit()
    api.connection.execute("DELETE FROM run_events WHERE run_id = %s", (run,))
    page = msgspec.convert(api.get(f"/api/v1/runs/{run}/events?after=0"), EventPageView)
    (event,) = page.events
    assert (event.id, event.kind, event.data["status"]) == (f"{run}:1", "resync", "PENDING")
    _cancel(api, run)
    with following(api, run, f"{run}:99") as stream:  # as after a restore of an older database
        assert stream.kinds() == [(2, "resync")]


@pytest.mark.parametrize("text", ["x", "-1", "{other}:1", "1:1:1", "99999999999", "2147483648"])
def test_an_id_that_is_none_of_the_run_is_rejected(api: ApiStage, text: str) -> None:
    run = api.submit()
    last = text.format(other=run + 1)
    answer = api.call("GET", f"/api/v1/runs/{run}/events", headers={"Last-Event-ID": last})
    expected = f"Last-Event-ID '{last}' is not the id of an event of this run, such as {run}:1"
    assert (answer.status_code, answer.json()["detail"]) == (422, expected)
    answer = api.call("GET", f"/api/v1/runs/{run}/events", params={"after": last})
    assert answer.json()["detail"].startswith(f"after '{last}' is not the id")


@pytest.mark.parametrize("wait", ["-1", "31", "nan"])
def test_a_wait_without_an_end_is_rejected(api: ApiStage, wait: str) -> None:
    assert api.call("GET", f"/api/v1/runs/{api.submit()}/events?wait={wait}").status_code == 422


def test_a_run_of_another_user_is_not_followed(api: ApiStage) -> None:
    run = api.submit()
    assert api.call("GET", f"/api/v1/runs/{run}/events", "bob").status_code == 404
    assert api.call("GET", f"/api/v1/runs/{run}/events", None).status_code == 401


def test_notifications_alone_are_enough(listening: ApiStage) -> None:
    run = listening.submit()
    with following(listening, run) as stream:
        assert stream.read() is not None
        _cancel(listening, run)
        assert stream.kinds() == [(2, "ended")]


def test_more_followers_than_a_process_may_have_are_rejected(listening: ApiStage) -> None:
    run = listening.submit()
    with following(listening, run) as one, following(listening, run) as two:
        answer = listening.call("GET", f"/api/v1/runs/{run}/events")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert answer.json()["detail"] == "2 requests follow runs here, and no more may now"
        assert listening.call("GET", f"/api/v1/runs/{run}/events?after=1&wait=1").status_code == 503
        assert listening.get(f"/api/v1/runs/{run}")["status"] == "PENDING"
        _cancel(listening, run)
        assert [kind for stream in (one, two) for _, kind in stream.kinds()] == ["submitted", "ended"] * 2
    wait_until(lambda: _has_followers(listening, 0), what="the room is free again")


def test_a_client_that_has_gone_leaves_its_place(listening: ApiStage) -> None:
    run = listening.submit()
    with following(listening, run) as stream:
        assert stream.read() is not None
        assert _has_followers(listening, 1)
    wait_until(lambda: _has_followers(listening, 0), what="its place is free")
    pool = listening.process._pool.get_stats()
    assert pool["pool_size"] == pool["pool_available"]  # no request holds a connection


def test_a_quiet_stream_has_comments_and_an_end(api: ApiStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_answers, "KEEP_ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(api.process._gateway, "_settings", api.settings.model_copy(update={"api_stream_seconds": 1.0}))
    run = api.submit()
    with following(api, run) as stream:
        assert stream.kinds() == [(1, "submitted")]
        assert stream.comments > 0


def test_a_stop_ends_streams_and_waits_in_time(service_urls: ServiceUrls, registry: Registry) -> None:
    with running_api(service_urls, f"test-{secrets.token_hex(6)}", registry) as stage, ThreadPoolExecutor(2) as threads:
        run = stage.submit()
        began = threading.Event()

        def stream() -> list[tuple[int, str]]:
            with following(stage, run) as stream:
                first = stream.read()
                began.set()
                return [] if first is None else stream.kinds()

        streaming = threads.submit(stream)
        assert began.wait(patient(30))
        waiting = threads.submit(stage.get, f"/api/v1/runs/{run}/events?after=1&wait=30")
        wait_until(lambda: _has_followers(stage, 2), what="both are there")
        stage.process.close()
        assert streaming.result(patient(20)) == []  # it has ended as streams do, and is not broken
        assert waiting.result(patient(20))["next"] == f"{run}:1"
        assert not any(loop.is_alive() for loop in stage.process._event_loops)
