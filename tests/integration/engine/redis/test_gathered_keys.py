"""Entries of one key that several consumers read end with the first who gathers."""

import msgpack
import pytest

from consumer import Consumer
from streamworkers.engine.redis.entry import Entry, unpack_entry
from streamworkers.engine.redis.keys import GROUP
from streamworkers.engine.redis.queue import MOST_GATHERED, Delivery, FinishedBatch
from streamworkers.engine.redis.streams import Streams
from streamworkers.engine.worker.handler import split_batches

LIMIT = 16_384


@pytest.fixture(autouse=True)
def group(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])


def _add(streams: Streams, keys: str, run_id: int = 1, isolated: bool = False) -> None:
    """Add one entry for each letter, which is its key."""
    packed = [Entry(run_id, seq, "job", key, "day", 1, isolated=isolated).pack() for seq, key in enumerate(keys)]
    streams.queues.add("q", run_id, packed)


def _read(streams: Streams, consumer: str, count: int) -> list[Delivery]:
    return streams.queues.read(["q"], consumer, count, 1)


def _gather(streams: Streams, consumer: str, read: list[Delivery]) -> str:
    gathered = streams.queues.gather(consumer, read)
    entries = [unpack_entry(each.packed, LIMIT, each.entry_id) for each in gathered]
    places = [tuple(map(int, entry.entry_id.split("-"))) for entry in entries]
    assert places == sorted(places)
    assert streams.queues.find_owned("q", consumer) == {each.entry_id for each in gathered}
    return "".join(entry.symbol for entry in entries)


def test_what_nobody_has_read_of_the_last_key_is_taken_too(streams: Streams) -> None:
    _add(streams, "AAABBBCCC")
    assert _gather(streams, "one", _read(streams, "one", 4)) == "AAABBB"
    assert _gather(streams, "two", _read(streams, "two", 1)) == "CCC"


def test_of_two_readers_of_a_key_the_first_who_gathers_gets_all_of_it(streams: Streams) -> None:
    _add(streams, "ABBBC")
    one, two = _read(streams, "one", 2), _read(streams, "two", 3)
    assert [len(one), len(two)] == [2, 3]
    assert _gather(streams, "two", two) == "BBBC"
    assert _gather(streams, "one", one) == "A"


def test_the_part_in_the_middle_may_be_lost_to_others_completely(streams: Streams) -> None:
    _add(streams, "AAAA")
    reads = {name: _read(streams, name, 1) for name in ("one", "two", "three", "four")}
    assert _gather(streams, "three", reads["three"]) == "AAAA"
    assert [_gather(streams, name, reads[name]) for name in ("one", "two", "four")] == ["", "", ""]


def test_what_another_consumer_has_begun_stays_with_it(streams: Streams) -> None:
    _add(streams, "AA")
    assert _gather(streams, "one", _read(streams, "one", 1)) == "AA"
    _add(streams, "AA")
    assert _gather(streams, "two", _read(streams, "two", 1)) == "AA"


def test_other_runs_and_isolated_entries_are_no_part_of_a_key(streams: Streams) -> None:
    _add(streams, "A")
    _add(streams, "A", run_id=2)
    _add(streams, "AA", run_id=2, isolated=True)
    assert _gather(streams, "one", _read(streams, "one", 1)) == "A"
    assert streams.queues.gather("two", _read(streams, "two", 1))[0].packed == Entry(2, 0, "job", "A", "day", 1).pack()
    assert streams.inspector.read_backlog("q").waiting == 2


def test_a_key_with_very_many_entries_is_cut(streams: Streams) -> None:
    _add(streams, "A" * (3 * MOST_GATHERED))
    assert len(_gather(streams, "one", _read(streams, "one", 1))) == 1 + MOST_GATHERED


def test_malformed_and_lost_entries_are_no_obstacle(streams: Streams) -> None:
    stream = streams.keys.stream("q")
    for fields in ({"e": b"\xc1"}, {"e": msgpack.packb(7)}, {"other": "a", "more": "b"}):
        streams.client.raw.xadd(stream, fields)  # type: ignore[arg-type]
    read = _read(streams, "one", 2)
    assert streams.queues.gather("one", read) == read
    read = _read(streams, "one", 1)
    streams.client.raw.xgroup_destroy(stream, GROUP)
    assert streams.queues.gather("one", read) == read  # it finds out when it finishes them


def test_what_was_gathered_is_finished_in_one_step_and_counted(streams: Streams) -> None:
    _add(streams, "AABB")
    gathered = streams.queues.gather("one", _read(streams, "one", 1))
    ids = [each.entry_id for each in gathered]
    (finished,) = streams.queues.finish("q", [FinishedBatch(1, ids)], ids)
    assert (finished.done, finished.open_left) == (2, 2)
    assert streams.inspector.read_backlog("q").waiting == 2


def test_a_worker_that_dies_before_it_gathers_leaves_its_part_to_be_requeued(streams: Streams) -> None:
    _add(streams, "ABB")
    _read(streams, "one", 2)
    assert _gather(streams, "two", _read(streams, "two", 1)) == "BB"
    assert streams.leases.requeue("q", "one") == 1
    assert _gather(streams, "three", _read(streams, "three", 9)) == "A"


def test_batches_of_whole_keys_are_shorter_but_never_empty() -> None:
    entries = [Entry(1, seq, "job", key, "", 1) for seq, key in enumerate("AABBBCCCCCD")]
    cut = ["".join(entry.symbol for entry in batch) for batch in split_batches(entries, 4, keeps_keys_together=True)]
    assert cut == ["AA", "BBB", "CCCC", "CD"]
    assert [len(batch) for batch in split_batches(entries, 4)] == [4, 4, 3]


def test_a_job_without_keys_of_several_items_reads_as_before(consumer: Consumer) -> None:
    assert not consumer.executor.registry.gathers("tests")
    assert all(consumer.executor.registry.gathers(queue) for queue in ("load", "load_first"))
