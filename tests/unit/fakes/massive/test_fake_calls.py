"""The log of calls never has a key, and the window of calls never lets too many through."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamworkers.errors import BadInputError
from streamworkers_fakes.massive import Call
from streamworkers_fakes.massive.calls import CallLog, SlidingWindow, without_keys


def call(path: str) -> Call:
    return Call(1.5, 2.5, "GET", path, 200, None, "KO", True)


@given(st.lists(st.floats(0, 20), max_size=60).map(sorted), st.integers(1, 5), st.floats(0.5, 10))
def test_no_window_has_more_calls_than_allowed_and_waiting_as_told_suffices(
    moments: list[float], most: int, seconds: float
) -> None:
    window, passed = SlidingWindow(most, seconds), list[float]()
    for moment in moments:
        wait = window.wait_seconds(moment)
        inside = [earlier for earlier in passed if earlier > moment - seconds]
        assert (wait == 0) == (len(inside) < most)
        assert wait <= seconds + 1e-9
        if wait == 0:
            passed.append(moment)
    if passed:
        end = max(moments)
        wait = window.wait_seconds(end)
        assert wait == 0 or window.wait_seconds(end + wait + 1e-6) == 0


def test_calls_at_once_share_one_window() -> None:
    window, waits = SlidingWindow(5), list[float]()
    threads = [threading.Thread(target=lambda: waits.append(window.wait_seconds(1.0))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert waits.count(0.0) == 5


@pytest.mark.parametrize(("most", "seconds"), [(0, 60.0), (1, 0.0), (5, float("nan"))])
def test_a_window_of_nothing_is_rejected(most: int, seconds: float) -> None:
    with pytest.raises(BadInputError) as raised:
        SlidingWindow(most, seconds)
    assert str(raised.value) == f"a limit of {most} calls in {seconds:g} s must be at least 1 in more than 0 s"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v3?apiKey=other&ticker=A", "/v3?apiKey=***&ticker=A"),
        ("/v3?a=1&APIKEY=other#x", "/v3?a=1&APIKEY=***#x"),
        ("/v3/s/cret?ticker=s/cret", "/v3/***?ticker=***"),
        ("/v3/s%2Fcret", "/v3/***"),
        ("/v3?ticker=A", "/v3?ticker=A"),
    ],
)
def test_keys_are_not_shown(path: str, shown: str) -> None:
    assert without_keys(path, ["s/cret"]) == shown


def test_calls_are_kept_in_memory_and_appended_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"old":1}\n')
    log = CallLog(path)
    log.add(call("/a"))
    log.clear()
    log.add(call("/b"))
    assert log.calls() == [call("/b")]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("path") for line in lines] == [None, "/a", "/b"]
    assert lines[1] == {
        "time": 1.5,
        "monotonic": 2.5,
        "method": "GET",
        "path": "/a",
        "status": 200,
        "misbehaviour": None,
        "ticker": "KO",
        "has_authorization": True,
    }


def test_a_log_that_cannot_be_written_is_rejected_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as raised:
        CallLog(tmp_path)
    assert str(raised.value) == f"log {str(tmp_path)!r} cannot be written: Is a directory"
