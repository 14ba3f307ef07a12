"""Another program writes junk under our keys: readers skip it, `doctor` names and mends it, and work goes on."""

from foreign_bytes import leave_junk
from streamworkers.engine.redis.foreign import count_of, is_text, text_of
from streamworkers.engine.redis.queue import FinishedBatch
from streamworkers.engine.redis.streams import Streams


def test_bytes_become_text_for_people_and_counts_are_whole_numbers() -> None:
    assert (text_of(b"a\xff"), is_text(b"a\xff"), is_text("ü".encode())) == (r"a\xff", False, True)
    assert [count_of(value) for value in (b"7", b"-2", None, b"def", b"1.5", b" 1", b"1_0", b"9" * 16)] == [7, -2] + [
        None
    ] * 6


def test_readers_skip_what_they_cannot_read(streams: Streams) -> None:
    leave_junk(streams)
    prefix = streams.keys.prefix
    assert set(streams.inspector.read_heartbeats()) <= {r"\xff\xfe"}
    assert streams.inspector.list_queues() == {"tests"}
    assert streams.inspector.read_open_counts("tests") == {}
    assert streams.inspector.read_open_counts_of("tests", [77, 78]) == {77: None, 78: None}
    assert streams.inspector.find_foreign_counts("tests") == [b"77", b"abc", b"\xff"]
    names = {text_of(name).removeprefix(f"{prefix}:") for name in streams.inspector.find_leaked_keys()}
    kinds = ("supervisor:", "rate:", "lease:", "whatever:")
    assert names == {rf"{kind}\xff\xfe" for kind in kinds} | {r"{\xff\xfe}:stream"}
    for name in streams.inspector.find_leaked_keys():
        streams.delete_lasting(name)
    assert streams.inspector.find_leaked_keys() == []


def test_a_count_that_is_none_neither_stops_a_finish_nor_doubles_an_enqueue(streams: Streams) -> None:
    streams.queues.ensure_groups(["q"])
    raw, counts = streams.client.raw, streams.keys.open_items("q")
    raw.hset(counts, "5", "many")
    streams.queues.add("q", 5, [b"one", b"two"])
    assert (raw.xlen(streams.keys.stream("q")), raw.hget(counts, "5")) == (2, None)
    raw.hset(counts, "5", "many")
    one, two = streams.queues.read(["q"], "w.1", 2, 100)
    (finished,) = streams.queues.finish("q", [FinishedBatch(5, [one.entry_id])])
    assert (finished.done, finished.open_left, raw.hget(counts, "5")) == (1, None, None)
    raw.hset(counts, "5", "1")
    (finished,) = streams.queues.finish("q", [FinishedBatch(5, [two.entry_id])])
    assert (finished.done, finished.open_left) == (1, 0)
