"""What the hook of Sentry sends, to a server on loopback that plays Sentry's ingest."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec

import pytest

from patience import patient
from streamworkers.config import load_settings
from streamworkers.errors import UsageError
from streamworkers.hooks import CallEnd, HookCall, HookItem, load_hook_classes
from streamworkers.sentry import END_SECONDS, SentryHook, make_client
from telemetry_servers import Telemetry, dead_url, silent_server, telemetry_server

_STACK = '  File "/srv/jobs/prices.py", line 7, in execute\n    token = "hunter2"\n'
_KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def ingest(monkeypatch: pytest.MonkeyPatch) -> Iterator[Telemetry]:
    """A server of Sentry that the setting names."""
    with telemetry_server() as server:
        _set_dsn(monkeypatch, server.url)
        yield server


def _set_dsn(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("STREAMWORKERS_SENTRY_DSN", url.replace("http://", f"http://{_KEY}@") + "/7")


def _call(run_id: int = 7) -> HookCall:
    parameters = {"api_key": "hunter2"}
    words = (run_id, "prices", "analysis", "day", None, parameters, None, "worker")
    return HookCall(1, *words, (), datetime(2026, 1, 2, tzinfo=UTC), 0.5)


def _failed(number: int, error: str = "ValueError: no price of S{}", stack: str | None = _STACK) -> HookItem:
    return HookItem(number, f"S{number}", "day", 3, error.format(number), stack)


def test_a_death_is_an_event_with_its_place_and_tags_and_nothing_else(ingest: Telemetry) -> None:
    hook = SentryHook()
    hook.on_dead(_call(), [_failed(1)])
    hook.close()
    (event,) = ingest.events
    assert event["level"] == "error"
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "no price of S1")
    frame = {"filename": "prices.py", "function": "execute", "lineno": 7}
    assert [{name: each[name] for name in frame} for each in exception["stacktrace"]["frames"]] == [frame]
    assert event["tags"] == {
        "job": "prices",
        "run": "7",
        "queue": "analysis",
        "symbol": "S1",
        "attempt": "3",
        "timeframe": "day",
    }
    assert event["fingerprint"] == ["streamworkers", "prices", "ValueError", "prices.py:execute"]
    assert "hunter2" not in "".join(ingest.bodies)
    assert event["release"].startswith("streamworkers@")


def test_a_failure_that_is_retried_is_a_warning_of_the_same_group(ingest: Telemetry) -> None:
    hook = SentryHook()
    hook.on_failure(_call(), [_failed(1)])
    hook.on_dead(_call(), [_failed(1)])
    hook.close()
    assert [event["level"] for event in ingest.events] == ["warning", "error"]
    assert ingest.events[0]["fingerprint"] == ingest.events[1]["fingerprint"]


@pytest.mark.parametrize("stack", [_STACK, None])
def test_five_hundred_items_that_fail_alike_are_one_event_and_one_more_at_the_end(
    ingest: Telemetry, stack: str | None
) -> None:
    hook = SentryHook()
    hook.on_dead(_call(), [_failed(number, stack=stack) for number in range(250)])
    for number in range(250, 500):  # as they die when each is isolated
        hook.on_dead(_call(), [_failed(number, stack=stack)])
        hook.on_end(_call(), CallEnd("decided", (), dead=1))
    hook.close()
    assert [event["extra"]["items"] for event in ingest.events] == [250, 250]
    assert len(ingest.events[0]["extra"]["symbols"]) == 10


def test_other_errors_and_other_runs_are_events_of_their_own(ingest: Telemetry) -> None:
    hook = SentryHook()
    hook.on_dead(_call(), [_failed(1), _failed(2, "KeyError: 'close'", None)])
    hook.on_dead(_call(8), [_failed(1)])
    hook.close()
    assert [event["tags"]["run"] for event in ingest.events] == ["7", "7", "8"]
    assert len({json.dumps(event["fingerprint"]) for event in ingest.events}) == 2


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_a_server_that_is_away_holds_nothing_up(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with silent_server() as silent:
        _set_dsn(monkeypatch, dead_url() if kind == "dead" else silent)
        hook = SentryHook()
        began = time.monotonic()
        for number in range(300):
            hook.on_dead(_call(number), [_failed(number)])
        hook.close()
        assert time.monotonic() - began < END_SECONDS + patient(5)


def test_a_dsn_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_dsn(monkeypatch, "http://127.0.0.1:1")
    settings = load_settings()
    assert _KEY not in repr(settings)
    assert settings.built_in_hooks == ["sentry"]
    with pytest.raises(UsageError, match="is no DSN of Sentry") as caught:
        make_client(f"nonsense-{_KEY}")
    assert _KEY not in str(caught.value)
    assert caught.value.__suppress_context__


def test_the_hook_is_loaded_where_it_is_switched_on() -> None:
    assert find_spec("sentry_sdk") is not None
    assert load_hook_classes(["sentry"])["sentry"] is SentryHook


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "streamworkers.sentry")
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(UsageError, match=r"hook 'sentry' needs sentry_sdk.*: pip install 'streamworkers\[sentry\]'"):
        load_hook_classes(["sentry"])
