"""Places of limits that supervisors keep for their workers."""

from streamworkers.engine.redis.places import Bucket, BucketUsage, HeldPlace, PlaceRequest, name_token
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry
from streamworkers.engine.supervisor.place_keeper import PlaceHolder, PlaceKeeper

BROKER = "sample_broker"
HELD = HeldPlace(name_token(1, 1), BROKER)


def test_places_that_redis_lost_are_taken_again_and_those_given_back_meanwhile_are_free(
    streams: Streams, registry: Registry
) -> None:
    keeper = PlaceKeeper(streams.places, registry)
    holder = PlaceHolder("one", [HELD], 60_000)
    request = PlaceRequest(1, 1, "tests", 0, b"", (Bucket(BROKER, 2),))
    assert streams.places.take("one", 60_000, [request], (), ["tests"]) == [None]
    keeper.keep([holder])
    keeper.keep([])
    assert streams.places.read_usage(BROKER) == {BROKER: BucketUsage(1, 0)}, "what was never lost is its worker's"

    streams.client.raw.delete(streams.keys.limit_places(BROKER))
    keeper.keep([holder])
    assert streams.places.read_usage(BROKER) == {BROKER: BucketUsage(1, 0)}
    keeper.keep([holder])
    streams.client.raw.delete(streams.keys.limit_places(BROKER))
    keeper.keep([holder])
    keeper.keep([])  # the worker has given it back just then
    assert streams.places.read_usage(BROKER) == {}


def test_places_of_a_limit_that_no_job_here_has_are_left_alone(streams: Streams, registry: Registry) -> None:
    keeper = PlaceKeeper(streams.places, registry)
    keeper.keep([PlaceHolder("one", [HeldPlace(name_token(1, 1), "gone")], 60_000)])
    keeper.free("one", [HeldPlace(name_token(1, 1), "gone")])
    assert streams.places.read_usage("gone") == {}
