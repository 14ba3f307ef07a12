"""Processes share the lease of a service."""

from streamworkers.engine.host.metrics import PoolMetrics
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.services.loop import ServiceLoop
from streamworkers.engine.services.promoter import Promoter


def test_supervisors_of_different_queues_do_not_share_a_lease(streams: Streams, metrics: PoolMetrics) -> None:
    first = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "first", metrics)
    second = ServiceLoop(Promoter(streams, ["b"], metrics), streams, "second", metrics)
    third = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "third", metrics)
    assert [loop._holds_lease() for loop in (first, second, third, first)] == [True, True, False, True]


def test_a_service_asks_for_the_lease_of_another_process_once_until_it_ends(
    streams: Streams, metrics: PoolMetrics
) -> None:
    first = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "first", metrics)
    second = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "second", metrics)
    assert first._holds_lease()
    key = streams.keys.service_lease("promoter:a")
    assert not second._holds_lease()
    streams.client.raw.delete(key)
    assert not any(second._holds_lease() for _ in range(3))
    second._yield_until = 0.0  # its end
    assert second._holds_lease()
    # A lease from before Redis' clock was set back ends later than any that is taken now.
    streams.client.raw.set(key, "first", px=3_600_000)
    third = ServiceLoop(Promoter(streams, ["a"], metrics), streams, "third", metrics)
    assert third._holds_lease()
