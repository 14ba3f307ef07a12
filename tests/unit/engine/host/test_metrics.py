"""What a pool shows of itself before anything has happened."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streamworkers.engine.host.metrics import PoolMetrics


def test_events_are_counted_from_zero_so_that_the_first_one_is_a_rise() -> None:
    metrics = PoolMetrics()
    metrics.begin_at_zero({"analysis": ("indicators",)})
    text = generate_latest(metrics.registry).decode()
    shown = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("queue") == "analysis"
    }
    for name in ("items_started", "items_retried", "entries_reclaimed"):
        assert shown[f"streamworkers_{name}_total"] == 0
    assert shown["streamworkers_requeue_duration_seconds_count"] == 0
