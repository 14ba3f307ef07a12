"""What a worker does with items of jobs that have limits: who runs, who waits, and what becomes of them."""

from typing import Any

import pytest

from consumer import Consumer
from harness import effects_of, items_of, run_status, start_run
from patience import patient
from streamworkers.admin import runs as operations
from streamworkers.config import Settings
from streamworkers.database import Connection
from streamworkers.engine.redis.places import KEPT_MS, Bucket, BucketUsage, Denial, HeldPlace, PlaceRequest, name_token
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.registry import Registry

BROKER, GROUP = "sample_broker", "sample_group"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with which a batch may take as long as a busy machine needs."""
    return settings.model_copy(update={"target_batch_seconds": patient(60.0)})


def _occupy(streams: Streams, bucket: str, places: int, count: int) -> list[PlaceRequest]:
    """Let another consumer hold places."""
    requests = [
        PlaceRequest(9_000_000 + number, 0, "tests", 0, b"", (Bucket(bucket, places),)) for number in range(count)
    ]
    assert streams.places.take("other", 60_000, requests, (), ["tests"]) == [None] * count
    return requests


def _usage(streams: Streams, name: str) -> dict[str, BucketUsage]:
    return streams.places.read_usage(name)


def _delayed(streams: Streams) -> int:
    return streams.inspector.read_backlog("tests").delayed


def test_items_without_a_place_are_delayed_at_no_cost_and_run_in_their_order_when_places_are_free(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    occupied = _occupy(streams, BROKER, 2, 2)
    run = start_run(connection, streams, registry, "two_at_once", *[f"{name}-1" for name in "ABCDE"])
    assert consumer.work() == 5
    assert consumer.reporter.sizes == []
    assert effects_of(connection, run) == []
    assert dict(consumer.reporter.reports[-1].limited) == {BROKER: 5}
    assert _delayed(streams) == 5
    assert _usage(streams, BROKER) == {BROKER: BucketUsage(2, 5)}
    assert consumer.reporter.places == []

    streams.places.leave("other", occupied[:1], ["tests"])
    assert _usage(streams, BROKER) == {BROKER: BucketUsage(2, 4)}, "a place is kept for the one that was woken"
    assert consumer.work() == 1
    assert effects_of(connection, run) == ["A-1"]
    # Its place is the next one's at once.
    done = ["A-1"]
    for name in "BCDE":
        assert consumer.work() == 1
        done.append(f"{name}-1")
        assert effects_of(connection, run) == done
    streams.places.leave("other", occupied[1:], ["tests"])
    assert run_status(connection, run) == "COMPLETED"
    assert {attempt for _, attempt, _ in items_of(connection, run).values()} == {1}
    assert _usage(streams, BROKER) == _usage(streams, GROUP) == {}
    assert _delayed(streams) == 0


def test_an_item_of_a_batch_holds_a_place_of_its_own_and_the_others_follow_in_it(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "two_at_once", *[f"{name}-1" for name in "ABCDE"])
    assert consumer.work() == 5
    assert consumer.reporter.sizes == [2, 2, 1], "a call has as many items as there are places"
    assert run_status(connection, run) == "COMPLETED"


def test_items_of_one_key_run_one_after_another_also_in_a_batch(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "one_of_group", "A-1", "A-2", "B-1", "A-3")
    assert consumer.work() == 4
    assert consumer.reporter.sizes == [2, 1, 1]
    assert run_status(connection, run) == "COMPLETED"


def test_a_full_group_holds_up_no_other_group(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    occupied = _occupy(streams, f"{GROUP}:A", 1, 1)
    run = start_run(connection, streams, registry, "one_of_group", "A-1", "B-1", "A-2", "C-1")
    consumer.work()
    assert effects_of(connection, run) == ["B-1", "C-1"]
    assert _usage(streams, GROUP) == {f"{GROUP}:A": BucketUsage(1, 2)}
    streams.places.leave("other", occupied, ["tests"])
    consumer.work()
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_nobody_overtakes_those_who_wait(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, second_consumer: Consumer
) -> None:
    occupied = _occupy(streams, f"{GROUP}:A", 1, 1)
    first = start_run(connection, streams, registry, "one_of_group", "A-1")
    consumer.work()
    second = start_run(connection, streams, registry, "one_of_group", "A-2")
    streams.places.leave("other", occupied, ["tests"])  # wakes A-1, which is behind A-2 in the stream
    second_consumer.work(count=1)
    assert effects_of(connection, second) == []
    consumer.work()
    assert effects_of(connection, first) == ["A-1"]
    consumer.work()
    assert effects_of(connection, second) == ["A-2"]


def test_a_place_that_is_kept_for_an_item_that_never_comes_is_others_after_a_moment(streams: Streams) -> None:
    bucket = Bucket("b", 1)
    occupied = _occupy(streams, "b", 1, 1)
    waiting = [PlaceRequest(1, number, "tests", 1, b"entry%d" % number, (bucket,)) for number in range(2)]
    delayed: Any = {request.packed: 2**53 for request in waiting}
    streams.client.raw.zadd(streams.keys.delayed("tests"), delayed)
    streams.places.wait(waiting, ["tests"])
    streams.places.leave("other", occupied, ["tests"])
    assert _delayed(streams) == 1
    places = streams.keys.limit_places("b")
    found: Any = streams.client.raw.zrange(places, 0, -1, withscores=True)
    ((holder, until),) = found
    assert holder.decode() == name_token(1, 0)
    assert 0 < until - streams.inspector.read_clock_ms() <= KEPT_MS
    streams.client.raw.zadd(places, {holder: 1})  # the moment has passed
    streams.places.wait(waiting[1:], ["tests"])
    assert _delayed(streams) == 0
    streams.client.raw.delete(streams.keys.stream("tests"))


def test_a_place_lapses_when_its_call_must_have_ended(
    streams: Streams, connection: Connection, registry: Registry, consumer: Consumer
) -> None:
    _occupy(streams, f"{GROUP}:A", 1, 1)
    streams.client.raw.zadd(streams.keys.limit_places(f"{GROUP}:A"), {name_token(9_000_000, 0) + "other": 1})
    run = start_run(connection, streams, registry, "one_of_group", "A-1")
    consumer.work()
    assert run_status(connection, run) == "COMPLETED"


def test_a_place_is_held_for_twice_the_time_limit_of_a_call_and_a_grace(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    take, lives = streams.places.take, []

    def note(name: str, life_ms: int, *rest: Any) -> Any:
        lives.append(life_ms)
        return take(name, life_ms, *rest)

    monkeypatch.setattr(streams.places, "take", note)
    start_run(connection, streams, registry, "one_of_group", "A-1")
    consumer.work()
    assert lives == [(2 * registry["one_of_group"].timeout_seconds + 15) * 1000]


def test_cancelled_items_that_wait_are_no_obstacle(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    occupied = _occupy(streams, f"{GROUP}:A", 1, 1)
    cancelled = start_run(connection, streams, registry, "one_of_group", "A-1", "A-2")
    run = start_run(connection, streams, registry, "one_of_group", "A-3")
    consumer.work()
    operations.cancel(connection, streams, cancelled.id)
    streams.places.leave("other", occupied, ["tests"])
    for _ in range(3):
        consumer.work()
    assert effects_of(connection, run) == ["A-3"]
    assert _usage(streams, GROUP) == {}


def test_an_item_that_fails_gives_its_place_back_and_is_retried_as_usual(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "two_at_once", "RAISE-1", "B-1")
    consumer.work()
    assert _usage(streams, BROKER) == {}
    assert items_of(connection, run)["RAISE-1"][:2] == ("retrying", 1)
    assert effects_of(connection, run) == ["B-1"], "its neighbour in the call was executed again, alone"
    consumer.work_until_empty()
    assert items_of(connection, run)["RAISE-1"][:2] == ("completed", 2)
    assert _usage(streams, BROKER) == _usage(streams, GROUP) == {}


def test_an_item_whose_key_fails_fails_itself_and_no_other(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "one_of_group", "NO_KEY", "B-1", max_attempts=1)
    consumer.work()
    assert items_of(connection, run)["NO_KEY"] == ("failed", 1, "ValueError: NO_KEY has no group")
    assert run_status(connection, run) == "COMPLETED_WITH_ERRORS"


def test_a_worker_that_dies_leaves_its_places_to_others_by_its_supervisor(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    held = [HeldPlace(name_token(1, 1), f"{GROUP}:A")]
    request = PlaceRequest(1, 1, "tests", 0, b"", (Bucket(f"{GROUP}:A", 1),))
    streams.places.take("dead", 60_000, [request], (), ["tests"])
    run = start_run(connection, streams, registry, "one_of_group", "A-1")
    consumer.work()
    assert effects_of(connection, run) == []
    streams.places.free("another", [(held[0], 1)], ["tests"])
    assert consumer.work() == 0, "a place is its consumer's alone"
    streams.places.free("dead", [(held[0], 1)], ["tests"])
    assert consumer.work() == 1
    assert effects_of(connection, run) == ["A-1"]


def test_places_that_redis_lost_are_taken_again(streams: Streams) -> None:
    held = [(HeldPlace(name_token(1, 1), "b"), 1)]
    assert streams.places.keep("one", 60_000, held) == 1
    assert streams.places.keep("one", 60_000, held) == 0
    request = PlaceRequest(2, 1, "tests", 0, b"", (Bucket("b", 1),))
    assert streams.places.take("two", 60_000, [request], (), ["tests"]) == [Denial(Bucket("b", 1), 0)]


def test_a_rate_lets_its_calls_through_one_by_one_and_gives_the_others_slots(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    run = start_run(connection, streams, registry, "ten_per_minute", *[f"S{number:02}" for number in range(30)])
    consumer.work()
    done = len(effects_of(connection, run))
    assert 1 <= done <= 10
    assert set(consumer.reporter.sizes) == {1}
    assert _delayed(streams) == 30 - done
    assert sum(dict(report.limited).get("sample_slow_rate", 0) for report in consumer.reporter.reports) == 30 - done
    assert _usage(streams, "sample_slow_rate") == {"sample_slow_rate": BucketUsage(0, 30 - done)}
    due: Any = streams.client.raw.zrange(streams.keys.delayed("tests"), 0, -1, withscores=True)
    seqs = [packed for packed, _ in due]
    assert seqs == sorted(seqs), "their slots are in their order"
    assert due[-1][1] - due[0][1] < 130_000


def test_a_rate_of_batches_counts_calls(
    connection: Connection, streams: Streams, registry: Registry, consumer: Consumer
) -> None:
    start_run(connection, streams, registry, "four_batches", *[f"S{number:02}" for number in range(40)])
    consumer.work()
    assert 1 <= len(consumer.reporter.sizes) <= 4
    assert set(consumer.reporter.sizes) == {5}
