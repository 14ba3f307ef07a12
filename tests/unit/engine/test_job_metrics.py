"""The counters and histograms of jobs: what may be counted, and what a supervisor shows of it."""

from typing import Any

import pytest
from prometheus_client import generate_latest

from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.job import JobHistogram, require_observations
from streamworkers.engine.protocol import BatchReport

LATENESS = JobHistogram("lateness_seconds", "Lateness", ("channel",), (1, 10))
EVERY = JobHistogram("size_bytes", "Size", (), (1,))


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        (("lateness_seconds",), 1.0, "the observation ('lateness_seconds',) is not the name of a histogram of the job"),
        (("speed", "mail"), 1.0, "the observation ('speed', 'mail') is not the name of a histogram of the job"),
        (("lateness_seconds", "mail"), "1", "the observation ('lateness_seconds', 'mail') is '1', not a finite number"),
        (("size_bytes",), float("nan"), "the observation ('size_bytes',) is nan, not a finite number"),
    ],
)
def test_a_value_of_no_histogram_is_rejected(key: Any, value: Any, error: str) -> None:
    with pytest.raises(ValueError, match="the observation") as raised:
        require_observations((LATENESS, EVERY), [(key, value)])
    assert str(raised.value).startswith(error)


def test_a_supervisor_shows_the_histograms_of_its_workers() -> None:
    metrics = PoolMetrics((), (LATENESS, EVERY))
    values = [(["lateness_seconds", "mail"], 5.0), (["lateness_seconds", "mail"], 50.0), (["size_bytes"], 1.0)]
    values.append((["of_another_release"], 1.0))
    metrics.count_batch("notify", "deliver", BatchReport(observations=values))
    text = generate_latest(metrics.registry).decode()
    for line in (
        'streamworkers_lateness_seconds_bucket{channel="mail",le="10.0"} 1.0',
        'streamworkers_lateness_seconds_count{channel="mail"} 2.0',
        "streamworkers_size_bytes_sum 1.0",
    ):
        assert line in text
