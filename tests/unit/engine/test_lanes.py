"""Names of lanes, the priority of a run, and the order in which a worker asks its lanes."""

from collections import Counter

import pytest

from streamworkers.engine.redis.keys import Keys
from streamworkers.engine.redis.lanes import (
    LARGE_RUN,
    PRIORITIES,
    ReadingOrder,
    choose_priority,
    describe_lane,
    lanes_of,
    list_lanes,
    list_queues_of,
    name_lane,
    priority_of,
    queue_of,
    require_priority,
)
from streamworkers.errors import BadInputError


def test_the_normal_lane_has_the_name_of_its_queue() -> None:
    assert lanes_of("analysis") == ("analysis/high", "analysis", "analysis/low")
    for priority in PRIORITIES:
        lane = name_lane("analysis", priority)
        assert (queue_of(lane), priority_of(lane)) == ("analysis", priority)
    assert list_lanes(["load", "load/low"]) == ["load/high", "load", "load/low"]
    assert list_queues_of(["load/high", "load", "notify/low"]) == ["load", "notify"]
    assert [describe_lane(lane) for lane in ("load", "load/low")] == ["queue load", "queue load, priority low"]


def test_the_keys_of_all_lanes_share_a_hash_tag_and_tell_their_lane() -> None:
    keys = Keys("sw")
    assert keys.stream("analysis") == "sw:{analysis}:stream"
    assert keys.stream("analysis/high") == "sw:{analysis}:high:stream"
    for lane in lanes_of("analysis"):
        for key in (keys.stream(lane), keys.delayed(lane), keys.open_items(lane)):
            assert ("{analysis}" in key, keys.read_lane(key)) == (True, lane)


def test_a_large_run_is_low_unless_it_names_its_priority() -> None:
    assert [choose_priority(None, count) for count in (0, LARGE_RUN, LARGE_RUN + 1)] == ["normal", "normal", "low"]
    assert choose_priority("normal", 500_000) == "normal"
    assert choose_priority("low", 1) == "low"
    with pytest.raises(BadInputError, match="priority 'urgent' is not one of high, normal, low"):
        require_priority("urgent")


def test_high_lanes_come_before_normal_ones_and_these_before_low_ones() -> None:
    order = ReadingOrder(list_lanes(["a", "b"]))
    ranks = [[priority_of(lane) for lane in order.next()] for _ in range(3)]
    assert ranks == [["high", "high", "normal", "normal", "low", "low"]] * 3


@pytest.mark.parametrize(
    ("queues", "first"), [(["a"], []), (["a", "b", "c", "d"], []), (["load_first", "load"], ["load_first"])]
)
def test_every_lane_is_asked_first_again_and_again(queues: list[str], first: list[str]) -> None:
    order = ReadingOrder(list_lanes(queues), first)
    firsts = Counter(order.next()[0] for _ in range(800))
    assert set(firsts) == set(list_lanes(queues))
    assert min(firsts.values()) >= 800 / 4 / 2 / (len(queues) + 1) - 1


def test_a_queue_that_goes_first_ranks_one_higher_and_the_others_get_every_fourth_read() -> None:
    order = ReadingOrder(["load_first", "load"], ["load_first"])
    assert [order.next()[0] for _ in range(8)] == (["load_first"] * 3 + ["load"]) * 2
    order = ReadingOrder(list_lanes(["load_first", "load"]), ["load_first"])
    assert sorted(order.next()[:3]) == ["load/high", "load_first", "load_first/high"]


def test_two_queues_without_other_lanes_take_turns() -> None:
    order = ReadingOrder(["a", "b"])
    firsts = Counter(order.next()[0] for _ in range(40))
    assert abs(firsts["a"] - firsts["b"]) <= 10
