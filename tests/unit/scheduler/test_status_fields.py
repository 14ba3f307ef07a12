"""What the hash of a job says of its runs."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.status import summarize_runs

CREATED = datetime(2026, 1, 2, 10, tzinfo=UTC)
STARTED, ENDED = CREATED + timedelta(seconds=1), CREATED + timedelta(seconds=60)
OPEN = ("PENDING", "RUNNING")
CLOSED = ("COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED")


def run(status: str, closed: int = 0, item_count: int = 10, **fields: Any) -> dict[str, Any]:
    return {
        "run_id": 1,
        "job": "analysis",
        "status": status,
        "created_at": CREATED,
        "started_at": None if status == "PENDING" else STARTED,
        "completed_at": None if status in OPEN else ENDED,
        "item_count": item_count,
        "failed_count": None if status in OPEN else 0,
        "closed": closed,
        "parameters": {},
        "last_symbol": None,
        "last_timeframe": None,
    } | fields


def test_a_job_that_has_not_begun_is_submitted() -> None:
    assert summarize_runs([run("PENDING")]) == {
        "status": "submitted",
        "progress": "0",
        "calls_left": "0",
        "eta": "",
        "message": "0 of 10 items of analysis",
        "submitted_at": "2026-01-02T10:00:00+00:00",
        "started_at": "",
        "completed_at": "",
    }


def test_a_running_job_says_how_far_it_is_and_what_was_last() -> None:
    running = run("RUNNING", 3, last_symbol="AAPL", last_timeframe="day")
    assert summarize_runs([running], now=STARTED + timedelta(seconds=30)) == {
        "status": "running",
        "progress": "30",
        "calls_left": "0",
        "eta": "2026-01-02T10:01:41+00:00",
        "message": "AAPL day: 3 of 10 items of analysis",
        "submitted_at": "2026-01-02T10:00:00+00:00",
        "started_at": "2026-01-02T10:00:01+00:00",
        "completed_at": "",
    }


def test_a_completed_job_says_when_it_ended_and_no_longer_what_was_last() -> None:
    assert summarize_runs([run("COMPLETED", 10, last_symbol="AAPL", last_timeframe="day")]) == {
        "status": "completed",
        "progress": "100",
        "calls_left": "0",
        "eta": "",
        "message": "10 of 10 items of analysis",
        "submitted_at": "2026-01-02T10:00:00+00:00",
        "started_at": "2026-01-02T10:00:01+00:00",
        "completed_at": "2026-01-02T10:01:00+00:00",
    }


def test_a_load_says_how_many_calls_are_left_and_ends_no_sooner_than_they_may_be_made() -> None:
    load = run("RUNNING", 2, job="load_ohlcv", parameters={"estimated_calls": 100})
    fields = summarize_runs([load], 5, STARTED + timedelta(seconds=2))
    assert (fields["calls_left"], fields["eta"]) == ("80", "2026-01-02T10:16:03+00:00")
    assert summarize_runs([load], 0, STARTED + timedelta(seconds=2))["eta"] == "2026-01-02T10:00:11+00:00"


@pytest.mark.parametrize(
    ("states", "closed", "status"),
    [
        (["PENDING"], 0, "submitted"),
        (["PENDING", "PENDING"], 0, "submitted"),
        (["PENDING"], 1, "running"),
        (["RUNNING"], 0, "running"),
        (["PENDING", "RUNNING"], 0, "running"),
        (["PENDING", "COMPLETED"], 0, "running"),
        (["RUNNING", "FAILED"], 1, "running"),
        (["PENDING", "CANCELLED"], 0, "running"),
        (["COMPLETED"], 1, "completed"),
        (["COMPLETED", "COMPLETED"], 1, "completed"),
        (["COMPLETED_WITH_ERRORS"], 1, "completed_with_errors"),
        (["COMPLETED", "COMPLETED_WITH_ERRORS"], 1, "completed_with_errors"),
        (["COMPLETED", "FAILED"], 1, "completed_with_errors"),
        (["COMPLETED", "CANCELLED"], 1, "completed_with_errors"),
        (["COMPLETED_WITH_ERRORS", "FAILED"], 1, "completed_with_errors"),
        (["FAILED"], 1, "failed"),
        (["FAILED", "CANCELLED"], 1, "failed"),
        (["CANCELLED"], 1, "cancelled"),
        (["CANCELLED", "CANCELLED"], 0, "cancelled"),
    ],
)
def test_the_status_is_that_of_all_runs_together(states: list[str], closed: int, status: str) -> None:
    runs = [run(state, closed, run_id=number) for number, state in enumerate(states, start=1)]
    assert summarize_runs(runs)["status"] == status
    assert summarize_runs(runs[::-1])["status"] == status


@pytest.mark.parametrize(
    ("closed", "item_count", "progress"),
    [
        (0, 10, "0"),
        (1, 3, "33"),
        (2, 3, "66"),
        (1, 2, "50"),
        (1, 1001, "0"),
        (9999, 10_000, "99"),
        (10, 10, "99"),
    ],
)
def test_progress_is_rounded_down_and_below_100_until_the_job_has_ended(
    closed: int, item_count: int, progress: str
) -> None:
    assert summarize_runs([run("RUNNING", closed, item_count)])["progress"] == progress


@pytest.mark.parametrize("status", CLOSED)
def test_progress_of_a_job_that_has_ended_is_100(status: str) -> None:
    assert summarize_runs([run(status, 3)])["progress"] == "100"


def test_a_job_without_items_is_at_0_until_it_has_ended() -> None:
    assert summarize_runs([run("RUNNING", 0, 0)])["progress"] == "0"
    assert summarize_runs([run("COMPLETED", 0, 0)])["progress"] == "100"


def test_items_of_all_runs_are_added_up() -> None:
    loading = run("RUNNING", 4, 30, run_id=2, last_symbol="FB", last_timeframe=None)
    fields = summarize_runs([run("COMPLETED", 10), loading])
    assert (fields["progress"], fields["message"]) == ("35", "FB: 14 of 40 items of analysis")


def test_failed_items_are_counted_when_the_job_has_ended_and_not_before() -> None:
    runs = [run("COMPLETED_WITH_ERRORS", 10, failed_count=2), run("COMPLETED", 10, run_id=2, failed_count=1)]
    assert summarize_runs(runs)["message"] == "20 of 20 items of analysis, 3 failed"
    assert summarize_runs([*runs, run("PENDING", 0, run_id=3)])["message"] == "20 of 30 items of analysis"
    assert summarize_runs([run("CANCELLED", 10, failed_count=None)])["message"] == "10 of 10 items of analysis"


def test_the_last_symbol_is_that_of_the_newest_run_that_has_one() -> None:
    first = run("RUNNING", 5, run_id=1, last_symbol="AAPL", last_timeframe="day")
    second = run("RUNNING", 5, run_id=2, last_symbol="MSFT", last_timeframe="hour")
    third = run("PENDING", 0, run_id=3)
    for runs in ([first, second, third], [third, second, first]):
        assert summarize_runs(runs)["message"] == "MSFT hour: 10 of 30 items of analysis"


def test_the_times_are_the_earliest_beginning_and_the_latest_end() -> None:
    early = run("COMPLETED", 10)
    late = run("FAILED", 10, run_id=2) | {
        "created_at": CREATED + timedelta(hours=1),
        "started_at": STARTED + timedelta(hours=1),
        "completed_at": ENDED + timedelta(hours=1),
    }
    for runs in ([early, late], [late, early]):
        fields = summarize_runs(runs)
        assert fields["submitted_at"] == CREATED.isoformat()
        assert fields["started_at"] == STARTED.isoformat()
        assert fields["completed_at"] == (ENDED + timedelta(hours=1)).isoformat()
    assert summarize_runs([early, run("RUNNING", 1, run_id=2)])["completed_at"] == ""


def test_a_run_cancelled_before_it_started_has_no_start() -> None:
    fields = summarize_runs([run("CANCELLED", 10, started_at=None)])
    assert (fields["status"], fields["started_at"], fields["completed_at"]) == ("cancelled", "", ENDED.isoformat())


def test_times_keep_the_offset_that_they_come_with() -> None:
    created = CREATED.astimezone(timezone(timedelta(hours=-5)))
    assert summarize_runs([run("PENDING", created_at=created)])["submitted_at"] == "2026-01-02T05:00:00-05:00"


@given(
    st.lists(
        st.tuples(st.sampled_from([*OPEN, *CLOSED]), st.integers(0, 10_000), st.integers(0, 10_000)),
        min_size=1,
        max_size=4,
    )
)
def test_progress_never_says_more_than_was_done_and_all_fields_are_texts(parts: list[tuple[str, int, int]]) -> None:
    runs = [run(status, min(n, m), max(n, m), run_id=number) for number, (status, n, m) in enumerate(parts)]
    fields = summarize_runs(runs)
    assert all(isinstance(value, str) for value in fields.values())
    total, closed = sum(row["item_count"] for row in runs), sum(row["closed"] for row in runs)
    if any(row["status"] in OPEN for row in runs):
        assert int(fields["progress"]) == min(100 * closed // total if total else 0, 99)
        assert fields["status"] in {"submitted", "running"}
    else:
        assert fields["progress"] == "100"
        assert fields["completed_at"] == ENDED.isoformat()
