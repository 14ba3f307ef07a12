"""`streamworkers limits list`: the limits of jobs, who runs and who waits."""

from command_line import Run
from consumer import Consumer
from harness import start_run
from streamworkers.database import Connection
from streamworkers.engine.redis.places import Bucket, PlaceRequest
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry


def test_limits_are_listed_with_what_is_in_use_and_what_waits(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, cli: Run
) -> None:
    held = [PlaceRequest(number, 0, "tests", 0, b"", (Bucket("sample_group:A", 1),)) for number in (9_000_000,)]
    streams.places.take("other", 60_000, held, (), ["tests"])
    start_run(connection, streams, registry, "one_of_group", "A-1", "A-2")
    start_run(connection, streams, registry, "ten_per_minute", "S0")
    consumer.work()
    rows = {row["name"]: row for row in cli("limits", "list", "--json").json}
    assert rows["sample_group"] == {
        "name": "sample_group",
        "kind": "concurrency",
        "limit": "1 at once",
        "jobs": ["one_of_group", "two_at_once"],
        "in_use": 1,
        "waiting": 2,
        "keys": 1,
    }
    assert rows["sample_slow_rate"]["limit"] == "10 in 60 s"
    assert rows["sample_slow_rate"]["in_use"] == 1
    assert rows["sample_broker"]["keys"] is None
    lines = {line.split()[0]: " ".join(line.split()) for line in cli("limits", "list").out.splitlines()}
    assert lines["limit"] == "limit kind at most keys in use waiting jobs"
    assert lines["sample_group"] == "sample_group concurrency 1 at once 1 1 2 one_of_group two_at_once"
