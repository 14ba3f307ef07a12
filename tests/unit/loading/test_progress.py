"""When a run will be done, and with how many calls."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from streamworkers.loading.progress import Progress, count_calls_left

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameters", "left"),
    [
        ({"estimated_calls": 100, "provider": "massive"}, 75),
        ({"estimated_calls": 100, "provider": "csv"}, 0),
        ({"estimated_calls": "many"}, 0),
        ({}, 0),
        (None, 0),
    ],
)
def test_calls_are_left_for_the_items_that_are(parameters: dict[str, Any] | None, left: int) -> None:
    assert count_calls_left(parameters, 4, 1) == left
    assert count_calls_left(parameters, 0, 0) == 0


@pytest.mark.parametrize(
    ("progress", "calls_per_minute", "seconds"),
    [
        (Progress(10, 5, 0, NOW - timedelta(seconds=60)), 0, 60),
        (Progress(10, 5, 50, NOW - timedelta(seconds=60)), 5, 600),
        (Progress(10, 0, 50, None), 5, 600),
        (Progress(10, 0, 50, None), 0, None),
        (Progress(10, 0, 0, NOW), 5, None),
    ],
)
def test_a_run_ends_as_fast_as_so_far_but_not_before_its_calls_may_be_made(
    progress: Progress, calls_per_minute: int, seconds: int | None
) -> None:
    assert progress.eta(calls_per_minute, NOW) == (None if seconds is None else NOW + timedelta(seconds=seconds))
